/* Integer work: table look-ups, comparisons, calls, a switch, hashing. */
#include "work.h"

static uint8_t data[1 << 16];
static void fill(void) {
    uint32_t seed = 12345;
    for (size_t n = 0; n < sizeof data; n++) data[n] = next_random(&seed) >> 24;
}

static uint32_t crc_table[256];
static void crc_setup(void) {
    fill();
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_table[n] = c;
    }
}
static uint64_t crc(void) {
    uint32_t c = ~0u;
    for (int round = 0; round < 150; round++)
        for (size_t n = 0; n < sizeof data; n++) c = crc_table[(c ^ data[n]) & 255] ^ c >> 8;
    return c;
}

static int compare(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}
/* The C library's sort: calls through a pointer, and branches that nobody can predict. */
static uint64_t sort(void) {
    enum { N = 150000 };
    static int v[N];
    uint32_t seed = 99;
    uint64_t sum = 0;
    for (int n = 0; n < N; n++) v[n] = next_random(&seed);
    qsort(v, N, sizeof v[0], compare);
    for (int n = 1; n < N; n++) {
        if (v[n - 1] > v[n]) return 0;
        sum = mix(sum, (uint32_t)v[n]);
    }
    return sum;
}

static __attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline"))) unsigned fibonacci(unsigned n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
static uint64_t calls(void) { return fibonacci(32); }

static uint64_t sieve(void) {
    enum { N = 1 << 20 };
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

/* A bytecode interpreter: eight operations through a switch. */
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
            if (++loops == 700000) return a ^ b ^ c;
        }
    }
}

/* SHA-256 (FIPS 180-4) of the data, which is a whole number of blocks; the padding is one block more. */
static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static uint32_t rotated(uint32_t x, int by) { return x >> by | x << (32 - by); }
static void sha_block(uint32_t h[8], const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int n = 0; n < 16; n++)
        w[n] = (uint32_t)block[4 * n] << 24 | block[4 * n + 1] << 16 | block[4 * n + 2] << 8 | block[4 * n + 3];
    for (int n = 16; n < 64; n++) {
        uint32_t a = w[n - 15], b = w[n - 2];
        w[n] = w[n - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[n - 7] +
               (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    /* The eight words move up by one in each step; here the names move instead. */
#define S(k) s[(k - n) & 7]
    for (int n = 0; n < 64; n++) {
        uint32_t e = S(4), a = S(0);
        uint32_t t = S(7) + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & S(5)) ^ (~e & S(6))) +
                     sha_k[n] + w[n];
        S(3) += t;
        S(7) = t + (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & S(1)) ^ (a & S(2)) ^ (S(1) & S(2)));
    }
    for (int n = 0; n < 8; n++) h[n] += s[n];
}
static uint64_t sha256(void) {
    uint32_t h[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t last[64] = {0x80};
    uint64_t bits = (uint64_t)sizeof data * 8 * 32;
    for (int round = 0; round < 32; round++)
        for (size_t n = 0; n < sizeof data; n += 64) sha_block(h, data + n);
    for (int n = 0; n < 8; n++) last[63 - n] = bits >> 8 * n;
    sha_block(h, last);
    return (uint64_t)h[0] << 32 | h[1];
}

const struct work integer_works[] = {
    {"crc", crc_setup, crc, NULL},   {"sort", NULL, sort, NULL},         {"calls", NULL, calls, NULL},
    {"sieve", NULL, sieve, NULL},    {"bytecode", NULL, bytecode, NULL}, {"sha256", fill, sha256, NULL},
    {NULL, NULL, NULL, NULL},
};
