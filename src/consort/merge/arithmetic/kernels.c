/* One pass over memory where torch takes one for each operation. Every product, sum and quotient is rounded to float
 * in the order of votes.py, so results are the same to the bit; compile without contraction and without fast-math. */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { TILE = 1024, GROUP = 64, WEIGHTED = 0, UNWEIGHTED = 1, COUNT = 2 };

static inline float sign(float x) { return (float)((x > 0) - (x < 0)); }

/* out = sum_i w_i x_i, row by row of the stack. */
void weighted_total(const float *stack, int64_t models, int64_t entries, int64_t stride, const float *weight,
                    float *restrict out) {
    for (int64_t start = 0; start < entries; start += TILE) {
        const int64_t length = entries - start < TILE ? entries - start : TILE;
        float *restrict sum = out + start;
        const float *x = stack + start;
        for (int64_t j = 0; j < length; j++) sum[j] = x[j] * weight[0];
        for (int64_t i = 1; i < models; i++) {
            const float w = weight[i], *row = x + i * stride;
            for (int64_t j = 0; j < length; j++) sum[j] = sum[j] + row[j] * w;
        }
    }
}

static void add_votes(const float *row, int64_t length, float w, int elect, int first, float *restrict votes) {
    for (int64_t j = 0; j < length; j++) {
        const float vote = elect == WEIGHTED ? row[j] * w : elect == UNWEIGHTED ? row[j] : sign(row[j]);
        votes[j] = first ? vote : votes[j] + vote;
    }
}

/* The entries of the elected sign: their weighted sum in `out`, with `normalize` divided by the sum of their weights. */
void voted(const float *stack, int64_t models, int64_t entries, int64_t stride, const float *weight, int elect,
           int normalize, float *restrict out) {
    float elected[TILE], share[TILE];
    for (int64_t start = 0; start < entries; start += TILE) {
        const int64_t length = entries - start < TILE ? entries - start : TILE;
        const float *x = stack + start;
        float *restrict sum = out + start;
        for (int64_t i = 0; i < models; i++) add_votes(x + i * stride, length, weight[i], elect, i == 0, elected);
        for (int64_t j = 0; j < length; j++) {
            elected[j] = copysignf(1.0f, elected[j] + 0.0f);
            sum[j] = share[j] = 0.0f;
        }
        for (int64_t i = 0; i < models; i++) {
            const float w = weight[i], *row = x + i * stride;
            for (int64_t j = 0; j < length; j++) {
                const float signed_one = (row[j] * w) * elected[j];
                const float agreeing = signed_one < 0 ? 0.0f : signed_one;
                sum[j] += agreeing;
                share[j] += (agreeing > 0 ? 1.0f : 0.0f) * w;
            }
        }
        for (int64_t j = 0; j < length; j++) {
            const float total = sum[j] * elected[j];
            sum[j] = normalize ? total / (share[j] + (share[j] == 0 ? 1.0f : 0.0f)) : total;
        }
    }
}

/* The entries whose magnitude is greater than the bound, 0 for the others. */
void above(const float *values, int64_t entries, float bound, float *out) {
    for (int64_t j = 0; j < entries; j++) out[j] = values[j] >= -bound && values[j] <= bound ? 0.0f : values[j];
}

/* Of magnitudes as bit patterns: counts of those below `low`, equal to it and equal to `high`; those between are copied
 * to `inside`, in order, and their number returned. Few lie between, so most groups are only counted. */
int64_t look(const int32_t *bits, int64_t entries, int32_t low, int32_t high, int32_t *restrict inside,
             int64_t *counts) {
    int64_t found = 0;
    for (int64_t start = 0; start < entries; start += GROUP) {
        const int64_t length = entries - start < GROUP ? entries - start : GROUP;
        const int32_t *group = bits + start;
        int32_t below = 0, lows = 0, highs = 0, between = 0;
        for (int64_t j = 0; j < length; j++) {
            const int32_t value = group[j];
            below += value < low;
            lows += value == low;
            highs += value == high;
            between += (value > low) & (value < high);
        }
        counts[0] += below;
        counts[1] += lows;
        counts[2] += highs;
        for (int64_t j = 0; between && j < length; j++) {
            inside[found] = group[j];
            found += (group[j] > low) & (group[j] < high);
        }
    }
    return found;
}

static inline float widened(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline int infinite(uint32_t bits) { return (bits & 0x7f800000u) == 0x7f800000u; }

/* A row of bfloat16 less the base, without what does not exceed the bound; whether all of it is finite. */
static int read_row(const uint16_t *row, const float *base, int64_t length, const float *bound, float *restrict out) {
    int faulty = 0;
    for (int64_t j = 0; j < length; j++) {
        out[j] = base ? widened(row[j]) - base[j] : widened(row[j]);
        faulty |= infinite(bits_of(out[j]));
    }
    if (bound) above(out, length, *bound, out);
    return !faulty;
}

/* Rounds to nearest, ties to even; whether all of it is finite. */
static int round_row(const float *values, int64_t length, uint16_t *restrict out) {
    int faulty = 0;
    for (int64_t j = 0; j < length; j++) {
        const uint32_t bits = bits_of(values[j]), rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
        faulty |= infinite(bits) | infinite(rounded);
        out[j] = (uint16_t)(rounded >> 16);
    }
    return !faulty;
}

/* A merge of bfloat16 rows to bfloat16: of `elect` below 0 the weighted sum, else the vote, divided by `divisor` and
 * multiplied by `scale`, added to the base where there is one. Returns 0 as soon as anything is not finite. */
int merged(const uint16_t *const *rows, const uint16_t *base, int64_t models, int64_t entries, const float *weight,
           const float *bounds, int elect, int normalize, float divisor, float scale, float *stack,
           uint16_t *restrict out) {
    float under[TILE], sum[TILE];
    for (int64_t start = 0; start < entries; start += TILE) {
        const int64_t length = entries - start < TILE ? entries - start : TILE;
        for (int64_t j = 0; base && j < length; j++) under[j] = widened(base[start + j]);
        for (int64_t i = 0; i < models; i++) {
            const float *bound = bounds ? bounds + i : 0;
            if (!read_row(rows[i] + start, base ? under : 0, length, bound, stack + i * TILE)) return 0;
        }
        if (elect < 0)
            weighted_total(stack, models, length, TILE, weight, sum);
        else
            voted(stack, models, length, TILE, weight, elect, normalize, sum);
        for (int64_t j = 0; divisor != 1 && j < length; j++) sum[j] = sum[j] / divisor;
        for (int64_t j = 0; scale != 1 && j < length; j++) sum[j] = sum[j] * scale;
        for (int64_t j = 0; base && j < length; j++) sum[j] = under[j] - (0.0f - sum[j]);
        if (!round_row(sum, length, out + start)) return 0;
    }
    return 1;
}
