/* Floating point: scalar and vector SSE2 as the compiler makes it, and x87. In the 32-bit build all of it is x87 except
   where the function says SSE2. */
#include "work.h"
#include <math.h>

#define SSE2 __attribute__((target("sse2,fpmath=sse")))

#define MATRIX(name, type, rounds)                                                                            \
    static SSE2 uint64_t name(void) {                                                                 \
        enum { N = 256 };                                                                             \
        static type a[N][N], b[N][N], c[N][N];                                                        \
        for (int i = 0; i < N; i++)                                                                   \
            for (int j = 0; j < N; j++) a[i][j] = i + j, b[i][j] = i - j, c[i][j] = 0;                \
        for (int round = 0; round < rounds; round++)                                                       \
            for (int i = 0; i < N; i++)                                                               \
                for (int k = 0; k < N; k++) {                                                         \
                    type x = a[i][k];                                                                 \
                    for (int j = 0; j < N; j++) c[i][j] += x * b[k][j];                               \
                }                                                                                     \
        uint64_t sum = 0;                                                                             \
        for (int n = 0; n < N; n++) sum = mix(sum, (uint64_t)(int64_t)c[n][n]);                       \
        return sum;                                                                                   \
    }
MATRIX(matrix_double, double, 2)
MATRIX(matrix_single, float, 6)

static SSE2 uint64_t mandelbrot(void) {
    uint64_t count = 0;
    for (int y = 0; y < 160; y++)
        for (int x = 0; x < 160; x++) {
            double cr = x / 80.0 - 1.5, ci = y / 80.0 - 1.0, r = 0, i = 0;
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

/* Five bodies that attract each other. The square root is the instruction, not the library. */
#define N_BODY(name, type, attribute, steps, root)                                                    \
    static attribute uint64_t name(void) {                                                            \
        type p[5][3], v[5][3], m[5];                                                                  \
        uint32_t seed = 8;                                                                            \
        for (int b = 0; b < 5; b++) {                                                                 \
            m[b] = 1 + b;                                                                             \
            for (int k = 0; k < 3; k++) {                                                             \
                p[b][k] = (int32_t)next_random(&seed) / (type)(1 << 28);                              \
                v[b][k] = (int32_t)next_random(&seed) / (type)(1 << 30);                              \
            }                                                                                         \
        }                                                                                             \
        for (int step = 0; step < steps; step++) {                                                    \
            for (int b = 0; b < 5; b++)                                                               \
                for (int o = b + 1; o < 5; o++) {                                                     \
                    type d[3], square = (type)0.01, distance;                                         \
                    for (int k = 0; k < 3; k++) d[k] = p[b][k] - p[o][k], square += d[k] * d[k];      \
                    root(distance, square);                                                           \
                    type pull = (type)0.001 / (square * distance);                                    \
                    for (int k = 0; k < 3; k++) {                                                     \
                        v[b][k] -= d[k] * m[o] * pull;                                                \
                        v[o][k] += d[k] * m[b] * pull;                                                \
                    }                                                                                 \
                }                                                                                     \
            for (int b = 0; b < 5; b++)                                                               \
                for (int k = 0; k < 3; k++) p[b][k] += v[b][k] * (type)0.001;                         \
        }                                                                                             \
        uint64_t sum = 0;                                                                             \
        for (int b = 0; b < 5; b++) sum = mix(sum, (uint64_t)(int64_t)(p[b][0] * 1048576));           \
        return sum;                                                                                   \
    }
#define SQRTSD(to, from) __asm__("sqrtsd %1, %0" : "=x"(to) : "x"(from))
#define FSQRT(to, from) __asm__("fsqrt" : "=t"(to) : "0"(from))
N_BODY(n_body_sse2, double, SSE2, 120000, SQRTSD)
N_BODY(n_body_x87, long double, , 25000, FSQRT)

/* Sums with every function that the x87 unit computes itself. */
static uint64_t x87_functions(void) {
    long double sum = 0;
    for (int n = 1; n < 200000; n++) {
        long double x = n * 0.0001L, sine, cosine, logarithm;
        __asm__("fsincos" : "=t"(cosine), "=u"(sine) : "0"(x));
        __asm__("fyl2x" : "=t"(logarithm) : "0"(x), "u"(1.0L) : "st(1)");
        sum += sine * cosine + logarithm;
    }
    /* Processors differ in the last bits of these functions. */
    return (uint64_t)(int64_t)(sum * 16);
}

const struct work float_works[] = {
    {"matrix-double", NULL, matrix_double, NULL}, {"matrix-single", NULL, matrix_single, NULL},
    {"mandelbrot", NULL, mandelbrot, NULL},       {"nbody-sse2", NULL, n_body_sse2, NULL},
    {"nbody-x87", NULL, n_body_x87, NULL},        {"x87-functions", NULL, x87_functions, NULL},
    {NULL, NULL, NULL, NULL},
};
