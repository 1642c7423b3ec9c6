/* Writes a counter to the first sector of one disk, then of another, for ever, past every cache: whoever looks at both disks at one
   instant sees the same number twice, or the first one ahead by one. The count in the file says how far it has come. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512

static int opened(const char *path, int flags) {
    int file = open(path, flags, 0644);
    if (file < 0) {
        perror(path);
        exit(1);
    }
    return file;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: pair FIRST SECOND COUNT\n");
        return 2;
    }
    int disks[] = {opened(argv[1], O_WRONLY | O_DIRECT | O_DSYNC), opened(argv[2], O_WRONLY | O_DIRECT | O_DSYNC)};
    int count = opened(argv[3], O_WRONLY | O_CREAT | O_TRUNC);
    char *sector = aligned_alloc(4096, 4096);
    for (unsigned long number = 1;; number++) {
        memset(sector, ' ', SECTOR);
        sector[snprintf(sector, SECTOR, "%lu", number)] = '\n';
        for (int disk = 0; disk < 2; disk++) {
            if (pwrite(disks[disk], sector, SECTOR, 0) != SECTOR) {
                perror(argv[1 + disk]);
                return 1;
            }
        }
        if (pwrite(count, sector, SECTOR, 0) != SECTOR) {
            perror(argv[3]);
            return 1;
        }
    }
}
