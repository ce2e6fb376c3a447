/* Workloads with a size, `NAME:SIZE`, for curves. The work of a unit does not depend on the size. */
#include "work.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

long size;

static void *map(size_t bytes, int rights) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE | rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) _exit(1);
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

/* A pointer chase, one place in each cache line, through `size` KB. */
static uint32_t *places;
static void set_setup(void) {
    uint32_t seed = 11, count = size * 16, *order = map(4 * count, 0);
    places = map(64ul * count, 0);
    for (uint32_t n = 0; n < count; n++) order[n] = n;
    for (uint32_t n = count - 1; n > 0; n--) {
        uint32_t k = ((uint64_t)next_random(&seed) * n) >> 32, t = order[n];
        order[n] = order[k], order[k] = t;
    }
    for (uint32_t n = 0; n < count; n++) places[16 * order[n]] = 16 * order[(n + 1) % count];
    munmap(order, 4 * count);
    for (uint32_t n = 0, at = 0; n < count; n++) at = places[at];
}
static uint64_t set(void) {
    uint32_t at = 0;
    for (int n = 0; n < 500000; n++) at = places[at];
    return at + 1;
}

/* `size` KB of code: pieces of 64 bytes that add and jump to a piece elsewhere, so that no two follow each other. */
enum { PIECE = 64 };
static uint8_t *entry;
static void code_setup(void) {
    uint32_t count = size * 1024 / PIECE, stride = count / 2 | 1;
    entry = map((size_t)(count + 1) * PIECE, PROT_EXEC);
    uint8_t *pieces = entry + PIECE;
    static const uint8_t begin[] = {0x31, 0xc0, 0xba, 0x40, 0x42, 0x0f, 0, 0xeb, 55}; /* EAX := 0, EDX := 1,000,000 */
    memcpy(entry, begin, sizeof begin);
    for (uint32_t a = stride, b = count; b;) { /* The stride must have no divisor in common with the count. */
        uint32_t r = a % b;
        a = b, b = r;
        if (!b && a != 1) stride += 2, a = stride, b = count;
    }
    for (uint32_t n = 0, at = 0; n < count; n++) {
        uint32_t next = ((uint64_t)at + stride) % count;
        uint8_t *p = pieces + (size_t)at * PIECE;
        for (int k = 0; k < 8; k++) {
            *p++ = 0x05; /* ADD EAX, number */
            memcpy(p, &n, 4), p += 4;
        }
        *p++ = 0x83, *p++ = 0xea, *p++ = 1; /* SUB EDX, 1 */
        *p++ = 0x75, *p++ = 1, *p++ = 0xc3; /* JNZ over RET */
        int32_t distance = pieces + (size_t)next * PIECE - (p + 5);
        *p++ = 0xe9; /* JMP next */
        memcpy(p, &distance, 4);
        at = next;
    }
}
static uint64_t code(void) {
    uint32_t (*function)(void) = (uint32_t(*)(void))entry;
    return function() + 1ull;
}

/* `size` processes in a ring; a byte goes round until it has been passed on 4000 times. */
static uint64_t ring(void) {
    enum { PASSES = 4000 };
    int (*pipes)[2] = malloc(sizeof *pipes * size), turns = PASSES / size;
    uint8_t byte = 1;
    for (int n = 0; n < size; n++)
        if (pipe(pipes[n])) return 0;
    for (int n = 1; n < size; n++)
        if (!fork()) {
            for (int turn = 0; turn < turns; turn++)
                if (read(pipes[n - 1][0], &byte, 1) != 1 || write(pipes[n][1], &byte, 1) != 1) _exit(1);
            _exit(0);
        }
    uint64_t sum = 0;
    for (int turn = 0; turn < turns; turn++, byte++)
        if (write(pipes[0][1], &byte, 1) == 1 && read(pipes[size - 1][0], &byte, 1) == 1) sum = mix(sum, byte);
    while (wait(NULL) > 0) {}
    for (int n = 0; n < size; n++) close(pipes[n][0]), close(pipes[n][1]);
    free(pipes);
    return sum;
}
static void ring_setup(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu() < 0 ? 0 : sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

const struct work curve_works[] = {
    {"set", set_setup, set, NULL}, {"code", code_setup, code, NULL}, {"ring", ring_setup, ring, NULL},
    {NULL, NULL, NULL, NULL},
};
