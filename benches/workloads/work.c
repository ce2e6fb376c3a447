/* Workloads for a Linux guest: `work NAME [TIMES]` runs one and prints a checksum that the host's run must equal.
   Built static, for 64 bits and for 32 (x87 arithmetic). Each takes 0.1 to 0.4 s on a machine of 2024. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t seed = 12345;
static uint32_t rnd(void) { return seed = seed * 1664525u + 1013904223u; }

static uint64_t crc(void) {
    static uint32_t table[256];
    static uint8_t data[1 << 16];
    for (int n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        table[n] = c;
    }
    for (size_t n = 0; n < sizeof data; n++) data[n] = rnd() >> 24;
    uint32_t c = ~0u;
    for (int round = 0; round < 800; round++)
        for (size_t n = 0; n < sizeof data; n++) c = table[(c ^ data[n]) & 255] ^ c >> 8;
    return c;
}

static int compare(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}
static uint64_t sort(void) {
    enum { N = 300000 };
    static int v[N];
    uint64_t sum = 0;
    for (int round = 0; round < 6; round++) {
        for (int n = 0; n < N; n++) v[n] = rnd();
        qsort(v, N, sizeof v[0], compare);
        sum = sum * 31 + (uint32_t)v[N / 3];
    }
    return sum;
}

static __attribute__((noinline)) unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static uint64_t calls(void) { return fib(38); }

static uint64_t sieve(void) {
    enum { N = 1 << 22 };
    static uint8_t composite[N];
    uint64_t count = 0;
    for (int round = 0; round < 6; round++) {
        memset(composite, 0, N);
        for (unsigned n = 2; n < N; n++) {
            if (composite[n]) continue;
            count++;
            for (uint64_t m = (uint64_t)n * n; m < N; m += n) composite[m] = 1;
        }
    }
    return count;
}

/* A bytecode interpreter: a loop of eight operations through a switch. */
static uint64_t bytecode(void) {
    static const uint8_t program[] = {0, 3, 1, 4, 5, 2, 6, 1, 3, 5, 0, 4, 2, 6, 7};
    uint64_t a = 1, b = 2, c = 3;
    unsigned loops = 0, pc = 0;
    for (;;) {
        switch (program[pc++]) {
        case 0: a += b; break;
        case 1: b ^= a >> 3; break;
        case 2: c += a * 5; break;
        case 3: a -= c; break;
        case 4: b = b << 1 | b >> 63; break;
        case 5: c ^= b; break;
        case 6: a = a & 1 ? a + c : a >> 1; break;
        default:
            pc = 0;
            if (++loops == 6000000) return a ^ b ^ c;
        }
    }
}

static uint64_t strings(void) {
    static char text[4096], copy[4096];
    uint64_t sum = 0;
    for (int n = 0; n < 4000; n++) text[n] = 'a' + rnd() % 26;
    for (int round = 0; round < 150000; round++) {
        text[round % 4000] = 'a' + round % 26;
        strcpy(copy, text + round % 512);
        sum += strlen(copy) + (strchr(copy, 'q') - copy) + (memcmp(copy, text, 64) > 0);
        char *found = strstr(copy, "xyz");
        sum += found ? found - copy : 7;
    }
    return sum;
}

static uint64_t chase(void) {
    enum { N = 1 << 21 };
    static uint32_t next[N];
    for (unsigned n = 0; n < N; n++) next[n] = n;
    for (unsigned n = N - 1; n > 0; n--) {
        unsigned k = rnd() % n, t = next[n];
        next[n] = next[k];
        next[k] = t;
    }
    unsigned at = 0;
    for (int n = 0; n < 6000000; n++) at = next[at];
    return at;
}

static uint64_t copy(void) {
    enum { N = 4 << 20 };
    static char a[N], b[N];
    memset(a, 1, N);
    for (int round = 0; round < 300; round++) {
        a[round] = round;
        memcpy(b, a, N);
        a[N - 1 - round] = b[round];
    }
    return (uint64_t)b[100] << 8 | (uint8_t)b[N - 50];
}

#define MATRIX(name, type)                                                                            \
    static uint64_t name(void) {                                                                      \
        enum { N = 384 };                                                                             \
        static type a[N][N], b[N][N], c[N][N];                                                        \
        for (int i = 0; i < N; i++)                                                                   \
            for (int j = 0; j < N; j++) a[i][j] = i + j, b[i][j] = i - j;                             \
        for (int round = 0; round < 3; round++)                                                       \
            for (int i = 0; i < N; i++)                                                               \
                for (int k = 0; k < N; k++) {                                                         \
                    type x = a[i][k];                                                                 \
                    for (int j = 0; j < N; j++) c[i][j] += x * b[k][j];                               \
                }                                                                                     \
        return (uint64_t)(int64_t)c[17][200];                                                         \
    }
MATRIX(matrix_double, double)
MATRIX(matrix_single, float)
MATRIX(matrix_int, int)

static uint64_t mandelbrot(void) {
    uint64_t count = 0;
    for (int y = 0; y < 300; y++)
        for (int x = 0; x < 300; x++) {
            double cr = x / 150.0 - 1.5, ci = y / 150.0 - 1.0, r = 0, i = 0;
            int n = 0;
            for (; n < 500 && r * r + i * i < 4; n++) {
                double t = r * r - i * i + cr;
                i = 2 * r * i + ci;
                r = t;
            }
            count += n;
        }
    return count;
}

static uint64_t x87(void) {
    long double x = 0.5L, sum = 0;
    for (int n = 1; n < 12000000; n++) {
        x = x * 1.0000001L + 1.0L / n;
        if (x > 10) x -= 9.75L;
        sum += x;
    }
    return (uint64_t)(sum * 1000);
}

static uint64_t system_calls(void) {
    uint64_t sum = 0;
    for (int n = 0; n < 1500000; n++) sum += syscall(SYS_getppid) != 0;
    return sum > 1 ? 1 : sum;
}

static uint64_t forks(void) {
    uint64_t sum = 0;
    for (int n = 0; n < 1600; n++) {
        int status, child = fork();
        if (!child) _exit(n & 63);
        waitpid(child, &status, 0);
        sum += WEXITSTATUS(status);
    }
    return sum;
}

static uint64_t pipes(void) {
    int a[2], b[2];
    char byte = 1;
    if (pipe(a) || pipe(b)) return 0;
    if (!fork()) {
        for (int n = 0; n < 50000; n++)
            if (read(a[0], &byte, 1) != 1 || write(b[1], &byte, 1) != 1) _exit(1);
        _exit(0);
    }
    uint64_t sum = 0;
    for (int n = 0; n < 50000; n++)
        if (write(a[1], &byte, 1) == 1 && read(b[0], &byte, 1) == 1) sum += byte;
    wait(NULL);
    return sum;
}

static uint64_t faults(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 40; round++) {
        char *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t n = 0; n < 8 << 20; n += 4096) p[n] = 1, sum++;
        munmap(p, 8 << 20);
    }
    return sum;
}

static uint64_t modify(void) {
    uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t sum = 0;
    for (uint32_t n = 0; n < 40000; n++) {
        p[0] = 0xb8; /* mov eax, n; ret */
        memcpy(p + 1, &n, 4);
        p[5] = 0xc3;
        sum += ((uint32_t(*)(void))p)();
    }
    return sum;
}

static uint64_t rep_strings(void) {
    static char a[4096], b[4096];
    for (int round = 0; round < 400000; round++) {
        void *to = b, *from = a;
        size_t count = sizeof a;
        a[round & 4095] = round;
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    }
    return (uint8_t)b[77];
}

static uint64_t integer_vectors(void) {
    static uint8_t v[1 << 15];
    static uint16_t w[1 << 15];
    uint64_t sum = 0;
    for (size_t n = 0; n < sizeof v; n++) v[n] = rnd() >> 24;
    for (int round = 0; round < 20000; round++) {
        for (size_t n = 0; n < sizeof v; n++) w[n] += v[n] * 3;
        sum += w[round];
    }
    return sum;
}

static const struct { const char *name; uint64_t (*run)(void); } works[] = {
    {"crc", crc}, {"sort", sort}, {"calls", calls}, {"sieve", sieve}, {"bytecode", bytecode},
    {"strings", strings}, {"chase", chase}, {"copy", copy}, {"matrix-double", matrix_double},
    {"matrix-single", matrix_single}, {"matrix-int", matrix_int}, {"mandelbrot", mandelbrot}, {"x87", x87},
    {"vectors", integer_vectors}, {"rep", rep_strings}, {"syscalls", system_calls}, {"forks", forks},
    {"pipes", pipes}, {"faults", faults}, {"modify", modify},
};

int main(int argc, char **argv) {
    for (size_t n = 0; n < sizeof works / sizeof works[0]; n++)
        if (argc > 1 && !strcmp(argv[1], works[n].name)) {
            printf("%s %016llx\n", works[n].name, (unsigned long long)works[n].run());
            return 0;
        }
    fprintf(stderr, "usage: work NAME\n");
    return 2;
}
