/* Memory: the C library's strings and copies, random access, repeated string instructions. */
#include "work.h"

static char text[4096], copied[4096];
static void strings_setup(void) {
    uint32_t seed = 4;
    for (int n = 0; n < 4000; n++) text[n] = 'a' + (next_random(&seed) >> 24) % 26;
}
/* The C library picks its functions by CPUID, so guest and host may take different ones. */
static uint64_t strings(void) {
    uint64_t sum = 0;
    strings_setup();
    for (int round = 0; round < 240000; round++) {
        text[round % 4000] = 'a' + round % 26;
        strcpy(copied, text + round % 512);
        sum += strlen(copied) + (strchr(copied, 'q') - copied) + (memcmp(copied, text, 64) > 0);
        char *found = strstr(copied, "xyz");
        sum += found ? found - copied : 7;
    }
    return sum;
}

/* 8 MB, one long cycle. */
enum { CHASE = 1 << 21 };
static uint32_t next_place[CHASE];
static void chase_setup(void) {
    uint32_t seed = 5;
    for (unsigned n = 0; n < CHASE; n++) next_place[n] = n;
    for (unsigned n = CHASE - 1; n > 0; n--) {
        unsigned k = (next_random(&seed) >> 3) % n, t = next_place[n];
        next_place[n] = next_place[k];
        next_place[k] = t;
    }
}
static uint64_t chase(void) {
    unsigned at = 0;
    for (int n = 0; n < 160000; n++) at = next_place[at];
    return at;
}

enum { COPY = 2 << 20 };
static char source[COPY], target[COPY];
static void copy_setup(void) {
    uint32_t seed = 6;
    for (int n = 0; n < COPY; n++) source[n] = next_random(&seed) >> 24;
}
static uint64_t copy(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 240; round++) {
        memcpy(target, source + round, COPY - 128);
        sum = mix(sum, (uint8_t)target[round * 1000]);
    }
    return sum;
}

static uint64_t rep_movsb(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 200000; round++) {
        void *to = target, *from = source + (round & 0xff) * 4096;
        size_t count = 4096;
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        sum = mix(sum, (uint8_t)target[round & 4095]);
    }
    return sum;
}

static uint64_t rep_stosb(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 200000; round++) {
        void *to = target + (round & 0xff) * 4096;
        size_t count = 4096;
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(round) : "memory");
        sum = mix(sum, (uint8_t)target[(round & 0xff) * 4096 + 4095]);
    }
    return sum;
}

const struct work memory_works[] = {
    {"strings", NULL, strings, NULL},       {"chase", chase_setup, chase, NULL},
    {"memcpy", copy_setup, copy, NULL},     {"rep-movsb", copy_setup, rep_movsb, NULL},
    {"rep-stosb", copy_setup, rep_stosb, NULL}, {NULL, NULL, NULL, NULL},
};
