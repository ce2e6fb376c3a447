/* Compression: matches found by hash chains, then bits by an adaptive binary range coder; unpacked again and compared. */
#include "work.h"

enum { SIZE = 48 << 10, WINDOW = 1 << 15, HASHES = 1 << 13, CHAIN = 16, LEAST = 3, MOST = 66 };
static uint8_t plain[SIZE], packed[2 * SIZE], unpacked[SIZE];

/* Sentences from a small vocabulary, as text repeats itself. */
static void setup(void) {
    uint32_t seed = 10;
    char vocabulary[64][10];
    for (int w = 0; w < 64; w++) {
        int length = 2 + (next_random(&seed) >> 24) % 7;
        for (int n = 0; n < length; n++) vocabulary[w][n] = 'a' + (next_random(&seed) >> 24) % 26;
        vocabulary[w][length] = 0;
    }
    for (size_t at = 0; at < SIZE;) {
        uint32_t pick = next_random(&seed) >> 20;
        const char *word = vocabulary[(pick & 63) * (pick >> 6) >> 6];
        while (*word && at < SIZE) plain[at++] = *word++;
        if (at < SIZE) plain[at++] = pick % 11 ? ' ' : '\n';
    }
}

/* Probabilities that a bit is 0, in 1/4096, each with its place in a tree of the bits before it. */
struct model { uint16_t kind[4], literal[256], length[64], low[256], high[128]; };
static void reset(struct model *m) {
    uint16_t *p = (uint16_t *)m;
    for (size_t n = 0; n < sizeof *m / sizeof *p; n++) p[n] = 2048;
}

struct coder { uint32_t low, range, code; uint8_t *at; };
static void encode(struct coder *c, uint16_t *p, int bit) {
    uint32_t bound = (c->range >> 12) * *p;
    if (!bit) c->range = bound, *p += (4096 - *p) >> 5;
    else {
        uint32_t before = c->low;
        c->low += bound, c->range -= bound, *p -= *p >> 5;
        if (c->low < before)
            for (uint8_t *carry = c->at - 1; ++*carry == 0; carry--) {}
    }
    while (c->range < 1 << 24) *c->at++ = c->low >> 24, c->low <<= 8, c->range <<= 8;
}
static int decode(struct coder *c, uint16_t *p) {
    uint32_t bound = (c->range >> 12) * *p;
    int bit = c->code - c->low >= bound;
    if (!bit) c->range = bound, *p += (4096 - *p) >> 5;
    else c->low += bound, c->range -= bound, *p -= *p >> 5;
    while (c->range < 1 << 24) c->low <<= 8, c->range <<= 8, c->code = c->code << 8 | *c->at++;
    return bit;
}
static void encode_tree(struct coder *c, uint16_t *p, int bits, int value) {
    for (int node = 1, n = bits - 1; n >= 0; n--) {
        int bit = value >> n & 1;
        encode(c, p + node, bit);
        node = 2 * node + bit;
    }
}
static int decode_tree(struct coder *c, uint16_t *p, int bits) {
    int node = 1;
    for (int n = 0; n < bits; n++) node = 2 * node + decode(c, p + node);
    return node - (1 << bits);
}

static size_t pack(void) {
    static int32_t first[HASHES], before[WINDOW];
    static struct model m;
    struct coder c = {0, ~0u, 0, packed + 1};
    packed[0] = 0; /* A carry may come as far as here. */
    memset(first, 0xff, sizeof first);
    reset(&m);
    for (int at = 0, kind = 0; at < SIZE;) {
        int best = 0, from = 0, step = 1;
        if (at + LEAST <= SIZE) {
            uint32_t h = (plain[at] | plain[at + 1] << 8 | plain[at + 2] << 16) * 0x9e3779b1u >> 19;
            int tries = CHAIN;
            for (int32_t old = first[h]; old >= 0 && at - old < WINDOW && tries--; old = before[old % WINDOW]) {
                int n = 0, most = SIZE - at < MOST ? SIZE - at : MOST;
                while (n < most && plain[old + n] == plain[at + n]) n++;
                if (n > best) best = n, from = old;
            }
        }
        if (best >= LEAST) {
            int distance = at - from;
            encode(&c, m.kind + kind, 1);
            encode_tree(&c, m.length, 6, best - LEAST);
            encode_tree(&c, m.high, 7, distance >> 8);
            encode_tree(&c, m.low, 8, distance & 255);
            kind = 1, step = best;
        } else {
            encode(&c, m.kind + kind, 0);
            encode_tree(&c, m.literal, 8, plain[at]);
            kind = 0;
        }
        for (; step--; at++)
            if (at + LEAST <= SIZE) {
                uint32_t h = (plain[at] | plain[at + 1] << 8 | plain[at + 2] << 16) * 0x9e3779b1u >> 19;
                before[at % WINDOW] = first[h], first[h] = at;
            }
    }
    for (int n = 0; n < 4; n++) *c.at++ = c.low >> 24, c.low <<= 8;
    return c.at - packed;
}

static void unpack(void) {
    static struct model m;
    struct coder c = {0, ~0u, 0, packed + 1};
    reset(&m);
    for (int n = 0; n < 4; n++) c.code = c.code << 8 | *c.at++;
    for (int at = 0, kind = 0; at < SIZE;) {
        kind = decode(&c, m.kind + kind);
        if (kind) {
            int length = LEAST + decode_tree(&c, m.length, 6), distance = decode_tree(&c, m.high, 7) << 8;
            distance |= decode_tree(&c, m.low, 8);
            for (; length-- && at < SIZE; at++) unpacked[at] = distance <= at ? unpacked[at - distance] : 0;
        } else unpacked[at++] = decode_tree(&c, m.literal, 8);
    }
}

static uint64_t compression(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 6; round++) {
        size_t size = pack();
        memset(unpacked, 0, SIZE);
        unpack();
        if (memcmp(plain, unpacked, SIZE)) return 0;
        sum = mix(sum, size);
        for (size_t n = 0; n < size; n++) sum = mix(sum, packed[n]);
    }
    return sum;
}

const struct work compress_works[] = {{"compress", setup, compression, NULL}, {NULL, NULL, NULL, NULL}};
