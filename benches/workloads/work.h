/* What the workloads share. Each sets its own seed, so that every run of it gives the same result. */
#ifndef WORK_H
#define WORK_H

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A workload: SETUP (or NULL) runs once and is not timed; RUN is one unit of work, some 20 ms on a machine of 2024,
   and returns a checksum that is the same each time. NULL from MISSING, or why the processor cannot run it. */
struct work {
    const char *name;
    void (*setup)(void);
    uint64_t (*run)(void);
    const char *(*missing)(void);
};

/* Ended by an entry without a name. */
extern const struct work integer_works[], memory_works[], float_works[], vector_works[], program_works[],
    system_works[];

/* A linear congruential generator; the high bits are the good ones. */
static inline uint32_t next_random(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u; }

/* Adds a number to a checksum. */
static inline uint64_t mix(uint64_t sum, uint64_t value) {
    return (sum ^ value) * 0x9e3779b97f4a7c15u ^ (sum ^ value) >> 29;
}

#endif
