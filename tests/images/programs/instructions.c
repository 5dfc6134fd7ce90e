/* Counts as fast as it can, in its memory and in a file, which are compared before each step: both go on from the
 * same one, or the second number of the file says by how much they differed.
 *
 * usage: instructions FILE    two numbers of the machine: the steps, and by how much they differed from memory's
 *
 * The mapping is shared: what was written into it is in the file, whatever becomes of the process. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **arguments) {
  int file = count == 2 ? open(arguments[1], O_RDWR | O_CREAT, 0644) : -1;
  if (file < 0 || ftruncate(file, 4096) != 0) {
    perror("instructions FILE");
    return 1;
  }
  volatile uint64_t *written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (written == MAP_FAILED) {
    perror("mmap");
    return 1;
  }
  for (uint64_t steps = 0;;) {
    if (written[0] != steps) written[1] = written[0] - steps;
    written[0] = ++steps;
  }
}
