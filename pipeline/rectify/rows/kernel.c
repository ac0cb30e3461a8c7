/* One pass over rows of logits, each of which stays in the nearest cache while it is worked on.

   The mathematics stands in `objective.py`. Of a row x: z = scale * x + shift and its largest entry;
   e = exp(z - largest) and its sum t, so that the row's loss is log t + largest - z_label and its
   probabilities are e / t; then what it adds to the sums over rows. These are taken in the pass's
   own arithmetic, float or double, over a block, and in double over all blocks.

   Vectors are those of GCC and Clang, as wide as the instruction set has them: the file includes
   itself once for each set, and there once for each arithmetic. It must not be compiled with
   -ffast-math: exp rounds by adding and subtracting, and infinities and NaN go their way. */
#if !defined(LEVEL)
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { FLOAT32, FLOAT64, FLOAT16, BFLOAT16 }; /* how rows are stored */
/* Rows for which the sums are loaded once: as many as 48 KiB of cache hold beside the vectors. */
enum { GROUP = 4, LONG_GROUP = 2, LONG_BYTES = 2048 };

struct pass {
    const char *rows; /* (count, classes), `stride` numbers from one row to the next */
    int64_t kind, stride, count, classes, block;
    const int64_t *labels; /* (count,) */
    const double *weights; /* (count,) */
    const double *point;   /* (2, classes): scale, shift; for the product (4, classes): their steps */
    int64_t is_product;
    void *scratch; /* 6 + 2 GROUP vectors over the classes, of a multiple of 64 bytes, at one */
    double *sums;  /* (2, classes), added to: by scale and by shift */
    double *loss;  /* (2,), added to: weighted sum, and the largest; a product leaves them */
};

/* What the scratch begins with. */
enum { SCALE, SHIFT, SCALE_STEP, SHIFT_STEP, BY_SCALE, BY_SHIFT, ROWS };

#define INLINE static inline __attribute__((always_inline))
#define JOINED(name, real, level) name##_##real##_##level
#define JOIN(name, real, level) JOINED(name, real, level)
#define NAME(name) JOIN(name, REAL, LEVEL)

INLINE int64_t size_of(int64_t kind) { return kind == FLOAT64 ? 8 : kind == FLOAT32 ? 4 : 2; }

/* CRC-32 of this file when it was built. */
unsigned source(void) { return SOURCE; }

/* The widest level that this processor has: 0 plain, 1 v3, 2 v4. */
int level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? 2 : 1;
#endif
    return 0;
}

#define LEVEL plain
#define BYTES 16
#define TARGET
#include "kernel.c"
#if defined(__x86_64__)
#define LEVEL v3
#define BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#include "kernel.c"
#define LEVEL v4
#define BYTES 64
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512dq")))
#include "kernel.c"
#endif

#elif !defined(REAL)
/* exp(r) = 1 + r + r^2 (...) for |r| <= log(2) / 2, interpolated at Chebyshev's nodes: to 1e-8 and
   2e-17. LEAST is where it leaves the normal numbers. */
#define REAL float
#define WORD int32_t
#define LANES (BYTES / 4)
#define SIGNIFICAND 23
#define BIAS 127
#define LEAST -87.33654f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define DEGREE 6
static const float NAME(terms)[] = {
    1, 1, 0.5f, 0.166665768f, 0.0416665544f, 0.00836320297f, 0.00139262135f};
#include "kernel.c"
#define REAL double
#define WORD int64_t
#define LANES (BYTES / 8)
#define SIGNIFICAND 52
#define BIAS 1023
#define LEAST -708.396418532264
#define LN2_HIGH 0.6931471805598903
#define LN2_LOW 5.4979230187083711747e-14
#define DEGREE 11
static const double NAME(terms)[] = {
    1, 1, 0.5, 0.16666666666666667, 0.041666666666623992, 0.0083333333333300513,
    0.0013888888917281793, 0.00019841269863105969, 2.4801521190217728e-5, 2.7557268378684193e-6,
    2.7620138719733996e-7, 2.5100424157005067e-8};
#include "kernel.c"
#undef LEVEL
#undef BYTES
#undef TARGET

#else
#define vec NAME(vec)
#define ints NAME(ints)
#define quad NAME(quad)
#define quad_ints NAME(quad_ints)
#define any NAME(any)
#define VECTOR(bytes, aligned_to) __attribute__((vector_size(bytes), aligned(aligned_to), may_alias))
typedef REAL vec VECTOR(BYTES, BYTES);
typedef WORD ints VECTOR(BYTES, BYTES);
typedef REAL quad VECTOR(16, 16);
typedef WORD quad_ints VECTOR(16, 16);
typedef REAL any VECTOR(BYTES, sizeof(REAL)); /* wherever a row begins */
typedef double NAME(doubles) VECTOR(8 * LANES, 8);
typedef float NAME(floats) VECTOR(4 * LANES, 4);
typedef uint32_t NAME(bits) VECTOR(4 * LANES, 4);
typedef uint16_t NAME(halves) VECTOR(2 * LANES, 2);

/* LANES stored numbers. float16 by its bits, which every compiler and processor can. */
TARGET INLINE vec NAME(load)(const char *from, int64_t kind)
{
    if (kind == FLOAT64)
        return __builtin_convertvector(*(const NAME(doubles) *)from, vec);
    if (kind == FLOAT32)
        return __builtin_convertvector(*(const NAME(floats) *)from, vec);
    NAME(bits) half = __builtin_convertvector(*(const NAME(halves) *)from, NAME(bits));
    if (kind == BFLOAT16)
        return __builtin_convertvector((NAME(floats))(half << 16), vec);
    NAME(bits) size = (half & 0x7fff) << 13;
    NAME(bits) finite = (NAME(bits))((NAME(floats))size * 0x1p112f);
    NAME(bits) special = (NAME(bits))(size >= 0x0f800000) & 0x7f800000;
    return __builtin_convertvector((NAME(floats))(finite | special | (half & 0x8000) << 16), vec);
}

#define LARGER(type, words, a, b) ((type)(((words)(a) & (a > b)) | ((words)(b) & ~(a > b))))

TARGET INLINE REAL NAME(largest_of)(vec values)
{
    quad top = *(quad *)&values;
    for (int j = 1; j < BYTES / 16; j++) {
        quad next = ((quad *)&values)[j];
        top = LARGER(quad, quad_ints, next, top);
    }
    REAL largest = top[0];
    for (int j = 1; j < (int)(16 / sizeof(REAL)); j++)
        largest = top[j] > largest ? top[j] : largest;
    return largest;
}

TARGET INLINE REAL NAME(sum_of)(vec values)
{
    quad total = *(quad *)&values;
    for (int j = 1; j < BYTES / 16; j++)
        total += ((quad *)&values)[j];
    REAL sum = total[0];
    for (int j = 1; j < (int)(16 / sizeof(REAL)); j++)
        sum += total[j];
    return sum;
}

/* exp of numbers <= 0, as 2^n exp(r); 0 where it would not be a normal number. */
TARGET INLINE vec NAME(exp)(vec d)
{
    const REAL turn = (REAL)1.5 * ((WORD)1 << SIGNIFICAND) + BIAS;
    vec shifted = d * (REAL)1.4426950408889634 + turn; /* n + BIAS in the last bits */
    vec n = shifted - turn, r = d - n * LN2_HIGH - n * LN2_LOW;
    vec e = r * NAME(terms)[DEGREE] + NAME(terms)[DEGREE - 1];
#pragma GCC unroll 16
    for (int i = DEGREE - 2; i >= 0; i--)
        e = e * r + NAME(terms)[i];
    e *= (vec)((ints)shifted << SIGNIFICAND);
    return (vec)((ints)e & ~(d < (REAL)LEAST));
}

/* 1 for each class of a vector's that only begins with classes: from LANES - rest on. */
static const REAL NAME(ones)[2 * LANES] = {[0 ... LANES - 1] = 1};

INLINE int64_t NAME(width)(const struct pass *p) { return (p->classes + LANES - 1) / LANES; }

/* Scale, shift and their steps, in this arithmetic. Behind the last class shifts are -inf, all
   else 0. */
TARGET static void NAME(place)(const struct pass *p)
{
    const int64_t width = NAME(width)(p) * LANES;
    for (int v = 0; v < (p->is_product ? 4 : 2); v++) {
        REAL *to = (REAL *)p->scratch + v * width;
        for (int64_t k = 0; k < width; k++)
            to[k] = k < p->classes ? (REAL)p->point[v * p->classes + k] : v == SHIFT ? -INFINITY : 0;
    }
}

/* Row i into x, followed by zeros, and the largest of scale * x + shift. */
TARGET INLINE REAL NAME(read_as)(const struct pass *p, int64_t i, int64_t kind, vec *x)
{
    const vec *scale = p->scratch, *shift = scale + SHIFT * NAME(width)(p);
    const int64_t size = size_of(kind), whole = p->classes / LANES, rest = p->classes % LANES;
    const char *row = p->rows + i * p->stride * size;
    const char *end = p->rows + ((p->count - 1) * p->stride + p->classes) * size;
    vec top = (vec){0} - (REAL)INFINITY, other = top; /* two: a comparison takes its time */
    int64_t k = 0;
    for (; k + 1 < whole; k += 2) {
        x[k] = NAME(load)(row + k * LANES * size, kind);
        x[k + 1] = NAME(load)(row + (k + 1) * LANES * size, kind);
        vec z = scale[k] * x[k] + shift[k], next = scale[k + 1] * x[k + 1] + shift[k + 1];
        top = LARGER(vec, ints, z, top);
        other = LARGER(vec, ints, next, other);
    }
    for (; k * LANES < p->classes; k++) {
        const char *from = row + k * LANES * size;
        char last[8 * LANES] __attribute__((aligned(8))) = {0};
        if (k < whole) {
            x[k] = NAME(load)(from, kind);
        } else if (from + LANES * size <= end) { /* the next row is read along */
            ints is_class = *(const any *)(NAME(ones) + LANES - rest) > 0;
            x[k] = (vec)((ints)NAME(load)(from, kind) & is_class);
        } else {
            x[k] = NAME(load)(memcpy(last, from, rest * size), kind);
        }
        vec z = scale[k] * x[k] + shift[k];
        top = LARGER(vec, ints, z, top);
    }
    return NAME(largest_of)(LARGER(vec, ints, top, other));
}

TARGET static REAL NAME(read)(const struct pass *p, int64_t i, vec *x)
{
    switch (p->kind) {
    case FLOAT64: return NAME(read_as)(p, i, FLOAT64, x);
    case FLOAT32: return NAME(read_as)(p, i, FLOAT32, x);
    case FLOAT16: return NAME(read_as)(p, i, FLOAT16, x);
    default: return NAME(read_as)(p, i, BFLOAT16, x);
    }
}

/* What `n` rows from `first` on add to the sums, in the scratch, and to the loss. */
TARGET INLINE void NAME(group)(const struct pass *p, int64_t first, int n, int is_product)
{
    const int64_t width = NAME(width)(p);
    vec *vectors = p->scratch;
    const vec *scale = vectors, *shift = vectors + SHIFT * width;
    const vec *scale_step = vectors + SCALE_STEP * width, *shift_step = vectors + SHIFT_STEP * width;
    vec *by_scale = vectors + BY_SCALE * width, *by_shift = vectors + BY_SHIFT * width;
    vec *x = vectors + ROWS * width, *e = x + GROUP * width;
    REAL largest[GROUP], sum[GROUP], mean[GROUP], factor[GROUP];
    for (int i = 0; i < n; i++)
        largest[i] = NAME(read)(p, first + i, x + i * width);
    for (int i = 0; i < n; i++) {
        const char *ahead = p->rows + (first + i + n) * p->stride * size_of(p->kind);
        vec total = {0}, moment = {0};
        for (int64_t k = 0; k < width; k++) {
            __builtin_prefetch(ahead + k * LANES * size_of(p->kind), 0, 2);
            vec logit = x[i * width + k];
            vec exp = NAME(exp)(scale[k] * logit + shift[k] - largest[i]);
            e[i * width + k] = exp;
            total += exp;
            if (is_product)
                moment += exp * (scale_step[k] * logit + shift_step[k]);
        }
        sum[i] = NAME(sum_of)(total);
        mean[i] = is_product ? NAME(sum_of)(moment) / sum[i] : 0;
        factor[i] = (REAL)p->weights[first + i] / sum[i];
    }
    for (int i = 0; i < n && !is_product; i++) {
        const double weight = p->weights[first + i];
        const int64_t label = p->labels[first + i];
        const REAL logit = ((REAL *)(x + i * width))[label];
        const REAL own = ((REAL *)scale)[label] * logit + ((REAL *)shift)[label];
        const double loss = log((double)sum[i]) + ((double)largest[i] - (double)own);
        if (weight > 0) {
            p->loss[0] += weight * loss;
            p->loss[1] = loss > p->loss[1] ? loss : p->loss[1];
        }
    }
    for (int64_t k = 0; k < width; k++) {
        vec to_scale = by_scale[k], to_shift = by_shift[k];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            vec logit = x[i * width + k], part = factor[i] * e[i * width + k];
            if (is_product)
                part *= scale_step[k] * logit + shift_step[k] - mean[i];
            to_shift += part;
            to_scale += part * logit;
        }
        by_scale[k] = to_scale, by_shift[k] = to_shift;
    }
}

TARGET INLINE void NAME(blocks)(const struct pass *p, int is_product)
{
    const int64_t width = NAME(width)(p) * LANES;
    REAL *sums = (REAL *)p->scratch + BY_SCALE * width;
    NAME(place)(p);
    for (int64_t i = 0; i < p->count;) {
        const int64_t end = i + p->block < p->count ? i + p->block : p->count;
        memset(sums, 0, 2 * width * sizeof(REAL));
        for (; i + GROUP <= end && width * sizeof(REAL) <= LONG_BYTES; i += GROUP)
            NAME(group)(p, i, GROUP, is_product);
        for (; i + LONG_GROUP <= end; i += LONG_GROUP)
            NAME(group)(p, i, LONG_GROUP, is_product);
        for (; i < end; i++)
            NAME(group)(p, i, 1, is_product);
        for (int64_t k = 0; k < p->classes; k++) {
            p->sums[k] += sums[k];
            p->sums[p->classes + k] += sums[width + k];
        }
    }
}

/* Loss and gradient, or the Hessian's product. */
TARGET void NAME(pass)(const struct pass *p)
{
    if (p->is_product)
        NAME(blocks)(p, 1);
    else
        NAME(blocks)(p, 0);
}

/* Softmax of each row of values (count, classes) into `out`, which may be the same memory. */
TARGET void NAME(softmax)(const REAL *values, REAL *out, int64_t count, int64_t classes)
{
    const int64_t whole = classes / LANES, rest = classes % LANES;
    const vec none = (vec){0} - (REAL)INFINITY;
    for (; count-- > 0; values += classes, out += classes) {
        const any *in = (const any *)values;
        any *probability = (any *)out;
        vec last = none, top, total = {0};
        memcpy(&last, in + whole, rest * sizeof(REAL));
        top = last;
        for (int64_t k = 0; k < whole; k++) {
            vec z = in[k];
            top = LARGER(vec, ints, z, top);
        }
        const REAL largest = NAME(largest_of)(top);
        for (int64_t k = 0; k < whole; k++) {
            vec e = NAME(exp)(in[k] - largest);
            probability[k] = e;
            total += e;
        }
        last = NAME(exp)(last - largest);
        const REAL share = 1 / NAME(sum_of)(total + last);
        for (int64_t k = 0; k < whole; k++)
            probability[k] *= share;
        last *= share;
        memcpy(probability + whole, &last, rest * sizeof(REAL));
    }
}
#undef vec
#undef ints
#undef quad
#undef quad_ints
#undef any
#undef VECTOR
#undef LARGER
#undef REAL
#undef WORD
#undef LANES
#undef SIGNIFICAND
#undef BIAS
#undef LEAST
#undef LN2_HIGH
#undef LN2_LOW
#undef DEGREE
#endif
