#!/usr/bin/env python3
"""The demo's client: numbered writes to a Redis, and whether each that was acknowledged is there.

usage: redis_writer.py ADDRESS FIRST FILE    SETs key:N from FIRST on until the connection breaks; appends
                                             every N that was acknowledged to FILE
       redis_writer.py --check ADDRESS FILE  prints for how many of the numbers in FILE the value is
                                             missing or another one
"""

import socket
import sys
import time


def connect(address):
    connection = socket.create_connection((address, 6379), 2)
    return connection, connection.makefile("rb")


def ask(connection, reader, line):
    connection.sendall(line.encode() + b"\r\n")
    answer = reader.readline()
    if not answer.endswith(b"\n"):
        raise OSError("connection closed")
    return answer.decode().strip()


def write(address, number, path):
    connection, reader = connect(address)
    with open(path, "a", encoding="ascii", buffering=1) as file:
        while True:
            if ask(connection, reader, f"SET key:{number} value-{number}") == "+OK":
                file.write(f"{number}\n")
            number += 1
            time.sleep(0.005)


def holds(connection, reader, number):
    expected = f"value-{number}"
    if ask(connection, reader, f"GET key:{number}") != f"${len(expected)}":
        return False
    return reader.readline().decode().strip() == expected


def missing(address, path):
    connection, reader = connect(address)
    with open(path, encoding="ascii") as file:
        numbers = [line.strip() for line in file]
    return sum(not holds(connection, reader, number) for number in numbers)


def main():
    if sys.argv[1] == "--check":
        print(missing(sys.argv[2], sys.argv[3]))
        return 0
    try:
        write(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
