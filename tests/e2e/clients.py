"""Clients of the databases in moved pods: they write until they are told to stop, and remember every
write that was acknowledged."""

import socket
import threading
import time


class Connection:
    def __init__(self, address, port, timeout=2):
        self.socket = socket.create_connection((address, port), timeout)
        self.file = self.socket.makefile("rb")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        answer = self.file.readline()
        if not answer.endswith(b"\n"):
            raise OSError("connection closed")
        return answer.decode().strip()

    def bulk(self, line):
        """The answer to a Redis command whose answer is a string."""
        length = int(self.ask(line).removeprefix("$"))
        return None if length < 0 else self.file.read(length + 2)[:-2].decode()

    def close(self):
        self.file.close()
        self.socket.close()


class Writer:
    """One write after the other, to wherever `address()` says, from its start to stop()."""

    def __init__(self, address, port):
        self._address, self._port = address, port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged = []
        self._next = 0
        self._thread.start()

    def write(self, connection, number):
        """Whether the write of `number` was acknowledged."""
        raise NotImplementedError

    def _run(self):
        connection = None
        while not self._stop.is_set():
            try:
                if connection is None:
                    address = self._address()
                    if not address:
                        time.sleep(0.05)
                        continue
                    connection = Connection(address, self._port)
                if self.write(connection, self._next):
                    self.acknowledged.append(self._next)
                # One that was not acknowledged may or may not be there: its number is not used again.
                self._next += 1
                time.sleep(0.001)
            except OSError:
                self._next += 1
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.05)
        if connection:
            connection.close()

    def stop(self):
        self._stop.set()
        self._thread.join(10)
        return self.acknowledged


class RedisWriter(Writer):
    def write(self, connection, number):
        return connection.ask(f"SET key:{number} value-{number}") == "+OK"


class SqliteWriter(Writer):
    def write(self, connection, number):
        return connection.ask(f"SET {number}") == str(number)


def redis_missing(address, numbers, port=6379):
    """Which of the acknowledged writes are not there, or not as they were written."""
    connection = Connection(address, port, timeout=10)
    try:
        return [number for number in numbers if connection.bulk(f"GET key:{number}") != f"value-{number}"]
    finally:
        connection.close()


def sqlite_missing(address, numbers, port=7000):
    connection = Connection(address, port, timeout=10)
    try:
        there = set(connection.ask("ALL").split())
        return [number for number in numbers if str(number) not in there]
    finally:
        connection.close()


def sqlite_integrity(address, port=7000):
    connection = Connection(address, port, timeout=10)
    try:
        return connection.ask("CHECK")
    finally:
        connection.close()
