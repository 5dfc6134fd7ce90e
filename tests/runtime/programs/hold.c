// Holds so much memory that nothing can leave out or compress, and counts the times that it found it as it was.
//
// usage: hold BYTES FILE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  size_t size = strtoul(argv[1], NULL, 10) / sizeof(uint64_t);
  uint64_t *held = malloc(size * sizeof *held), value = 88172645463325252U;
  int file = open(argv[2], O_RDWR | O_CREAT, 0644);
  if (held == NULL || file < 0 || ftruncate(file, 4096) != 0) return 2;
  volatile uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) return 2;
  for (size_t i = 0; i < size; i++) {
    value ^= value << 13, value ^= value >> 7, value ^= value << 17;
    held[i] = value;
  }
  for (;;) {
    value = 88172645463325252U;
    for (size_t i = 0; i < size; i++) {
      value ^= value << 13, value ^= value >> 7, value ^= value << 17;
      if (held[i] != value) {
        shared[1] = 1;
        return 3;
      }
    }
    shared[0]++;
  }
}
