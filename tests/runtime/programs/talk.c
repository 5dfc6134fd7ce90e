// Two programs that talk over one TCP connection, a number at a time, and end when it breaks.
//
// usage: talk serve ADDRESS PORT               answers each number with the next
//        talk ask ADDRESS PORT FILE            writes the last number, and how often it had to connect
//                                              after a broken connection (0 is never), into FILE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in address_of(char **words) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
  inet_pton(AF_INET, words[2], &address.sin_addr);
  return address;
}

static int all(int fd, uint64_t *number, int writing) {
  for (size_t done = 0; done < sizeof *number;) {
    char *at = (char *)number + done;
    ssize_t n = writing ? write(fd, at, sizeof *number - done) : read(fd, at, sizeof *number - done);
    if (n <= 0) return 0;
    done += (size_t)n;
  }
  return 1;
}

static int serve(char **words) {
  struct sockaddr_in address = address_of(words);
  int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0) return 2;
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) return 2;
    for (uint64_t number; all(connection, &number, 0);) {
      number++;
      if (!all(connection, &number, 1)) break;
    }
    close(connection);
  }
}

static int ask(char **words) {
  struct sockaddr_in address = address_of(words);
  int file = open(words[4], O_RDWR | O_CREAT, 0644);
  if (file < 0 || ftruncate(file, 4096) != 0) return 2;
  volatile uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) return 2;
  uint64_t number = 0;
  for (;;) {
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0) {
      while (all(connection, &number, 1) && all(connection, &number, 0)) shared[0] = number;
      shared[1]++;
    } else if (errno != ECONNREFUSED) {
      return 3;
    }
    close(connection);
    poll(NULL, 0, 10);
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv);
  if (argc == 5 && strcmp(argv[1], "ask") == 0) return ask(argv);
  return 2;
}
