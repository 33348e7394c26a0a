/* Loops over the cells of frames that compilers turn into vector instructions: no branch in them depends
on a cell, and each sum has the width that it needs. Included by _pixels.pyx, which says what the figures mean. */

#include <math.h>
#include <stdint.h>

/* On x86-64 the program chooses at its start between what every such processor has and AVX2, which does it in
a third of the time. That takes an indirect function: of glibc, not of musl, Windows or macOS. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(MAPDR_SANITIZED)
#define MAPDR_LOOPS __attribute__((target_clones("avx2", "default"), optimize("O3")))
#elif defined(__GNUC__) && !defined(__clang__)
#define MAPDR_LOOPS __attribute__((optimize("O3")))
#else
#define MAPDR_LOOPS
#endif

#if defined(_MSC_VER)
#define MAPDR_RESTRICT __restrict
#else
#define MAPDR_RESTRICT restrict
#endif

struct mapdr_found {
    int64_t count, most, squares, least, greatest;
};

struct mapdr_gap {
    int64_t low, high, below, above;
};

#define MAPDR_BEYOND (1 << 20) /* what no cell of 16 bits holds */

#define MAPDR_BLOCK 4096 /* cells */
#define MAPDR_SMALL 1000 /* error of which the squares of a block add up to less than 2 ** 32 */

/* How far `decoded` is from `original`, but for values of `original` from `from` to `to`, which a cell can hold; all
of them count if `from` is above `to`. All is as wide as a cell of 16 bits, which halves the time, and so are
squares in 32 bits: they are added once more in 64 where a block has errors too large for that. */
#define MAPDR_COMPARED(NAME, CELL, LEAST, MOST)                                                             \
    MAPDR_LOOPS static void NAME(                                                                           \
        const void *one, const void *other, int64_t count, int from, int to, struct mapdr_found *found)     \
    {                                                                                                       \
        const CELL *original = one, *decoded = other, low = from, high = to;                                \
        CELL least = MOST, greatest = LEAST;                                                                \
        uint16_t most = 0;                                                                                  \
        int64_t counted = 0;                                                                                \
        uint64_t squares = 0;                                                                               \
        for (int64_t begin = 0; begin < count; begin += MAPDR_BLOCK) {                                      \
            int64_t end = begin + MAPDR_BLOCK < count ? begin + MAPDR_BLOCK : count;                        \
            uint16_t some = 0, most_here = 0;                                                               \
            uint32_t squares_here = 0;                                                                      \
            for (int64_t index = begin; index < end; index++) {                                             \
                CELL value = original[index], made = decoded[index];                                        \
                CELL upper = value > made ? value : made, lower = value > made ? made : value;              \
                uint16_t mask = -((value < low) | (value > high));                                          \
                uint16_t off = ((uint16_t)upper - (uint16_t)lower) & mask;                                  \
                some -= mask;                                                                               \
                most_here = off > most_here ? off : most_here;                                              \
                lower = (value & mask) | (MOST & ~mask), upper = (value & mask) | (LEAST & ~mask);          \
                least = lower < least ? lower : least;                                                      \
                greatest = upper > greatest ? upper : greatest;                                             \
                squares_here += (uint32_t)off * (uint32_t)off;                                              \
            }                                                                                               \
            counted += some;                                                                                \
            most = most_here > most ? most_here : most;                                                     \
            if (most_here <= MAPDR_SMALL) {                                                                 \
                squares += squares_here;                                                                    \
                continue;                                                                                   \
            }                                                                                               \
            for (int64_t index = begin; index < end; index++) {                                             \
                int value = original[index], off = value - (int)decoded[index];                             \
                off = (off < 0 ? -off : off) & -((value < low) | (value > high));                           \
                squares += (uint64_t)(uint32_t)off * (uint32_t)off;                                         \
            }                                                                                               \
        }                                                                                                   \
        found->count = counted;                                                                             \
        found->most = most;                                                                                 \
        found->squares = (int64_t)squares;                                                                  \
        found->least = least;                                                                               \
        found->greatest = greatest;                                                                         \
    }

/* The values of `decoded` where `original` is from `from` to `to`, which a cell can hold, and in another pass what
of the others is next to them. */
#define MAPDR_GAP(NAME, CELL, LEAST, MOST)                                                                  \
    MAPDR_LOOPS static void NAME(                                                                           \
        const void *one, const void *other, int64_t count, int from, int to, struct mapdr_gap *gap)         \
    {                                                                                                       \
        const CELL *original = one, *decoded = other, low = from, high = to;                                \
        CELL lowest = low, highest = high, below = LEAST, above = MOST, unders = 0, overs = 0;              \
        for (int64_t index = 0; index < count; index++) {                                                   \
            CELL value = original[index], found = decoded[index];                                           \
            CELL outside = -((value < low) | (value > high));                                               \
            CELL lower = (found & ~outside) | (MOST & outside), upper = (found & ~outside) | (LEAST & outside);\
            lowest = lower < lowest ? lower : lowest;                                                       \
            highest = upper > highest ? upper : highest;                                                    \
        }                                                                                                   \
        for (int64_t index = 0; index < count; index++) {                                                   \
            CELL value = original[index], found = decoded[index];                                           \
            CELL outside = -((value < low) | (value > high)), lies_under = -(found <= lowest);              \
            CELL is_under = outside & lies_under, is_over = outside & ~lies_under;                          \
            CELL under = (found & is_under) | (LEAST & ~is_under), over = (found & is_over) | (MOST & ~is_over);\
            below = under > below ? under : below;                                                          \
            above = over < above ? over : above;                                                            \
            unders |= is_under;                                                                             \
            overs |= is_over;                                                                               \
        }                                                                                                   \
        gap->low = lowest;                                                                                  \
        gap->high = highest;                                                                                \
        gap->below = unders ? below : -MAPDR_BEYOND;                                                        \
        gap->above = overs ? above : MAPDR_BEYOND;                                                          \
    }

/* Eight sizes in each octave from 1 on: exponent and three bits of the fraction of an IEEE 754 single. */
static inline int mapdr_bin(float size)
{
    union {
        float number;
        int32_t bits;
    } found = {size};
    return (found.bits >> 20) - (127 << 3);
}

/* One row of a strip, high and low pass along it: twice and four times what the transform gives. */
#define MAPDR_ROW(NAME, CELL)                                                                               \
    MAPDR_LOOPS static void NAME(const void *row, int64_t pairs, int64_t samples, int32_t *high, int32_t *low)\
    {                                                                                                       \
        const CELL *cells = row;                                                                            \
        for (int64_t sample = 0; sample < samples; sample++) {                                              \
            for (int64_t pair = 0; pair < pairs; pair++) {                                                  \
                const CELL *cell = cells + 2 * pair * samples + sample;                                     \
                int32_t even = cell[0], odd = cell[samples], after = cell[2 * samples];                     \
                int32_t detail = 2 * odd - (even + after);                                                  \
                high[sample * pairs + pair] = detail;                                                       \
                low[sample * pairs + pair] = detail + 4 * even;                                             \
            }                                                                                               \
        }                                                                                                   \
    }

#define MAPDR_BINS 160

/* The sizes of the details that three rows after `MAPDR_ROW` have, all of them whole eighths: in both directions,
across the rows and along them. Each array is a parameter, for compilers believe `restrict` of these alone. */
MAPDR_LOOPS static void mapdr_size_details(
    const int32_t *MAPDR_RESTRICT high_0, const int32_t *MAPDR_RESTRICT high_1, const int32_t *MAPDR_RESTRICT high_2,
    const int32_t *MAPDR_RESTRICT low_0, const int32_t *MAPDR_RESTRICT low_1, const int32_t *MAPDR_RESTRICT low_2,
    int64_t count, int32_t *MAPDR_RESTRICT of_both, int32_t *MAPDR_RESTRICT of_across, int32_t *MAPDR_RESTRICT of_along)
{
    const float weight = 0.70710678f; /* of the error that a detail in both directions makes */
    for (int64_t index = 0; index < count; index++) {
        int32_t both = 2 * high_1[index] - (high_0[index] + high_2[index]);
        int32_t across = both + 4 * high_0[index];
        int32_t along = 2 * low_1[index] - (low_0[index] + low_2[index]);
        /* The sign goes as a float's: of a condition compilers make a branch, which noise mispredicts. */
        of_both[index] = mapdr_bin(fabsf((float)both) * 0.25f * weight + 1.0f);
        of_across[index] = mapdr_bin(fabsf((float)across) * 0.125f + 1.0f);
        of_along[index] = mapdr_bin(fabsf((float)along) * 0.125f + 1.0f);
    }
}

/* Count the details that three rows after `MAPDR_ROW` have, by size. `bins` is for three sizes of each of `count`
details, `counts` are four tables of MAPDR_BINS, to be added. */
static void mapdr_count_details(
    int32_t *const high[3], int32_t *const low[3], int64_t count, int32_t *bins, int64_t *counts)
{
    mapdr_size_details(
        high[0], high[1], high[2], low[0], low[1], low[2], count, bins, bins + count, bins + 2 * count);
    /* In four tables by turns: details of one size follow each other, and each would wait for the one before. */
    int64_t index = 0;
    for (; index + 4 <= 3 * count; index += 4) {
        counts[bins[index]]++;
        counts[MAPDR_BINS + bins[index + 1]]++;
        counts[2 * MAPDR_BINS + bins[index + 2]]++;
        counts[3 * MAPDR_BINS + bins[index + 3]]++;
    }
    for (; index < 3 * count; index++) {
        counts[bins[index]]++;
    }
}

#define MAPDR_LOOPS_OF(NAME, CELL, LEAST, MOST)                  \
    MAPDR_COMPARED(mapdr_compared_##NAME, CELL, LEAST, MOST)     \
    MAPDR_GAP(mapdr_gap_##NAME, CELL, LEAST, MOST)               \
    MAPDR_ROW(mapdr_row_##NAME, CELL)

MAPDR_LOOPS_OF(i8, int8_t, INT8_MIN, INT8_MAX)
MAPDR_LOOPS_OF(u8, uint8_t, 0, UINT8_MAX)
MAPDR_LOOPS_OF(i16, int16_t, INT16_MIN, INT16_MAX)
MAPDR_LOOPS_OF(u16, uint16_t, 0, UINT16_MAX)

/* The loops over one kind of cells, the bytes of a cell, and what it holds at least and at most. */
struct mapdr_kind {
    int64_t size;
    int least, most;
    void (*compared)(const void *, const void *, int64_t, int, int, struct mapdr_found *);
    void (*gap)(const void *, const void *, int64_t, int, int, struct mapdr_gap *);
    void (*row)(const void *, int64_t, int64_t, int32_t *, int32_t *);
};

/* In the order of KINDS: b, B, h, H. */
static const struct mapdr_kind mapdr_kinds[] = {
    {1, INT8_MIN, INT8_MAX, mapdr_compared_i8, mapdr_gap_i8, mapdr_row_i8},
    {1, 0, UINT8_MAX, mapdr_compared_u8, mapdr_gap_u8, mapdr_row_u8},
    {2, INT16_MIN, INT16_MAX, mapdr_compared_i16, mapdr_gap_i16, mapdr_row_i16},
    {2, 0, UINT16_MAX, mapdr_compared_u16, mapdr_gap_u16, mapdr_row_u16},
};
