// Counts as fast as it can, and can tell whether an instruction was lost or done twice: the number in
// its own memory and the one in the file that it shares with the test must always be one apart.
//
// usage: count FILE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
  int file = argc == 2 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1;
  if (file < 0 || ftruncate(file, 4096) != 0) return 2;
  volatile uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) return 2;
  for (volatile uint64_t own = shared[0];;) {
    if (shared[0] != own) {
      shared[1] = 1;
      return 3;
    }
    own++;
    shared[0] = own;
  }
}
