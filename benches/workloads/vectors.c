/* Vector work on integers with SSE2, and with AVX2 and FMA where the processor has them. */
#include "work.h"
#include <immintrin.h>

enum { COUNT = 1 << 14 };
static uint8_t bytes[COUNT];
static uint16_t words[COUNT];
static float left[COUNT], right[COUNT];
static void fill(void) {
    uint32_t seed = 9;
    for (int n = 0; n < COUNT; n++) {
        bytes[n] = next_random(&seed) >> 24;
        left[n] = (int32_t)next_random(&seed) % 16;
        right[n] = (int32_t)next_random(&seed) % 16;
    }
}

/* Sums of differences, saturation, multiplication, shuffles: what codecs do. */
static __attribute__((target("sse2"))) uint64_t sse2(void) {
    __m128i sum = _mm_setzero_si128(), zero = _mm_setzero_si128();
    memset(words, 0, sizeof words);
    for (int round = 0; round < 12000; round++) {
        __m128i other = _mm_set1_epi8(round), factor = _mm_set1_epi16(round | 1);
        for (int n = 0; n < COUNT; n += 16) {
            __m128i b = _mm_loadu_si128((__m128i *)(bytes + n));
            __m128i low = _mm_unpacklo_epi8(b, zero), high = _mm_unpackhi_epi8(b, zero);
            __m128i *to = (__m128i *)(words + n);
            _mm_storeu_si128(to, _mm_adds_epu16(_mm_loadu_si128(to), _mm_mullo_epi16(low, factor)));
            _mm_storeu_si128(to + 1, _mm_add_epi16(_mm_loadu_si128(to + 1), _mm_shufflelo_epi16(high, 0x1b)));
            sum = _mm_add_epi64(sum, _mm_sad_epu8(b, other));
        }
    }
    uint64_t parts[2];
    _mm_storeu_si128((__m128i *)parts, sum);
    return mix(mix(parts[0], parts[1]), words[77] + words[COUNT - 1]);
}

static const char *no_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? NULL : "the processor has no AVX2";
}
static __attribute__((target("avx2"))) uint64_t avx2(void) {
    __m256i sum = _mm256_setzero_si256();
    memset(words, 0, sizeof words);
    for (int round = 0; round < 16000; round++) {
        __m256i other = _mm256_set1_epi8(round), factor = _mm256_set1_epi16(round | 1);
        for (int n = 0; n < COUNT; n += 32) {
            __m256i b = _mm256_loadu_si256((__m256i *)(bytes + n));
            __m256i wide = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(b));
            __m256i *to = (__m256i *)(words + n);
            wide = _mm256_permute4x64_epi64(_mm256_mullo_epi16(wide, factor), 0x4e);
            _mm256_storeu_si256(to, _mm256_adds_epu16(_mm256_loadu_si256(to), wide));
            sum = _mm256_add_epi64(sum, _mm256_sad_epu8(b, other));
        }
    }
    uint64_t parts[4];
    _mm256_storeu_si256((__m256i *)parts, sum);
    return mix(mix(parts[0], parts[1]), mix(parts[2], parts[3]) + words[77] + words[COUNT - 32]);
}

static const char *no_fma(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? NULL : "the processor has no FMA";
}
/* A scalar product of small whole numbers, exact in any order of its sums. */
static __attribute__((target("avx2,fma"))) uint64_t fused(void) {
    uint64_t total = 0;
    for (int round = 0; round < 8000; round++) {
        __m256 a = _mm256_setzero_ps(), b = a, factor = _mm256_set1_ps(round & 7);
        for (int n = 0; n < COUNT; n += 16) {
            a = _mm256_fmadd_ps(_mm256_loadu_ps(left + n), _mm256_loadu_ps(right + n), a);
            b = _mm256_fmadd_ps(_mm256_loadu_ps(left + n + 8), factor, b);
        }
        float parts[8];
        _mm256_storeu_ps(parts, _mm256_add_ps(a, b));
        for (int n = 0; n < 8; n++) total += (uint64_t)(int64_t)parts[n];
    }
    return total;
}

const struct work vector_works[] = {
    {"simd-sse2", fill, sse2, NULL},
    {"simd-avx2", fill, avx2, no_avx2},
    {"simd-fma", fill, fused, no_fma},
    {NULL, NULL, NULL, NULL},
};
