// Sums of weights of a convolution, along the rows of its output.
//
// A window slides along a row. The sums of the positions that it reaches are kept in
// registers, until it has passed them: each target is loaded and stored once for all
// spikes of its window. These are a run of neighbours in a list that goes through the
// image column by column, and the weights of a spike are a row of the kernel.
#ifndef CNN2SNN_COLUMNS
#define CNN2SNN_COLUMNS
#include <algorithm>
#include <cstdint>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace cnn2snn_columns {

// Registers for sums. Others hold a value and what is loaded.
#if defined(__AVX512F__)
constexpr int MOST = 24;
#else
constexpr int MOST = 12;
#endif

using cnn2snn_sums::Registers;

// The sums of KX positions next to each other, L registers each. `step` is from the
// weights of one position to those of the next.
template <typename Real, int KX, int L>
struct Window {
    Registers<Real, L> head;
    Window<Real, KX - 1, L> tail;
    __attribute__((always_inline)) void add(const Real* w, std::ptrdiff_t step) {
        head.add(w);
        tail.add(w + step, step);
    }
    __attribute__((always_inline)) void add(const Real* w, std::ptrdiff_t step, Real value) {
        head.add(w, value);
        tail.add(w + step, step, value);
    }
    // The same without the first position.
    template <typename... Rest>
    __attribute__((always_inline)) void add_later(Rest... rest) { tail.add(rest...); }
    __attribute__((always_inline)) void slide() {
        head = tail.head;
        tail.slide();
    }
};
template <typename Real, int L>
struct Window<Real, 1, L> {
    Registers<Real, L> head;
    __attribute__((always_inline)) void add(const Real* w, std::ptrdiff_t) { head.add(w); }
    __attribute__((always_inline)) void add(const Real* w, std::ptrdiff_t, Real value) {
        head.add(w, value);
    }
    template <typename... Rest>
    void add_later(Rest...) {}
    __attribute__((always_inline)) void slide() { head = Registers<Real, L>(); }
};

struct Geometry {
    int32_t height, width, out_height, out_width, ky, stride_y, pad_y, pad_x;
};

// Spikes column by column, in a column row by row. Those of row y of column x begin at
// `begin[x * height + y]`. In a list of several blocks of channels, all columns of a
// block come before the next block. `offset` is the row of the kernel, which has ky rows
// for each channel: that of its channel, and in there y + pad_y, times the UNIT of tiles;
// `value` is what it is worth.
template <typename Real>
struct Columns {
    const int32_t* begin;
    int32_t n_blocks;
    const int32_t* offset;
    const Real* value;
    int32_t block, channels;
};

// Weights of the next block, which are loaded into the second-level cache bit by bit.
struct Ahead {
    const char* from;
    int32_t n_lines;  // of the cache, at a time
    void load() {
        for (int32_t k = 0; k < n_lines; k++, from += 64) __builtin_prefetch(from, 0, 2);
    }
};

// A convolution along x, and its output channels. A column of the image reaches `REACHED`
// positions at most.
template <int KX_, int STRIDE_, int OUT_>
struct Row {
    static constexpr int KX = KX_, STRIDE = STRIDE_, OUT = OUT_;
    static constexpr int REACHED = (KX + STRIDE - 1) / STRIDE;
};

// Bytes from the weights of one position to the next, from which on they are copied.
constexpr int APART = 512;

// Registers of a position that are summed at a time.
template <typename Real, typename R>
struct Tile {
    static constexpr int WHOLE = R::OUT / Registers<Real, 1>::WIDTH;
    static constexpr int MANY = MOST / R::REACHED > 0 ? MOST / R::REACHED : 1;
    static constexpr int PARTS = (WHOLE + MANY - 1) / MANY;
    static constexpr int SIZE = (WHOLE + PARTS - 1) / PARTS;
    // Parts of weights so far apart would share a few lines of the cache.
    static constexpr bool IS_COPIED = PARTS > 1 && R::OUT * sizeof(Real) >= APART;
    // What offsets of weights are given in: numbers of rows, or of weights.
    static constexpr int UNIT = IS_COPIED ? 1 : R::KX * R::OUT;
};

template <bool WITH_VALUES, typename R, int L, typename Real>
__attribute__((noinline)) void add_block(
    const Geometry g, const int32_t* begin, const int32_t* offset, const Real* value,
    const Real* w, bool is_copied, Real* v, Ahead& ahead) {
    constexpr int N = L * Registers<Real, 1>::WIDTH, BEFORE = R::REACHED - 1;
    constexpr bool MAY_BE = Tile<Real, R>::IS_COPIED;
    const std::ptrdiff_t step = MAY_BE && is_copied ? N : R::OUT, row = R::KX * step;
    const std::ptrdiff_t unit = MAY_BE ? row : 1;
    for (int32_t y = 0; y < g.out_height; y++) {
        const int32_t top = y * g.stride_y - g.pad_y;
        const int32_t first = top < 0 ? 0 : top;
        const int32_t last = top + g.ky > g.height ? g.height : top + g.ky;
        if (last <= first) continue;
        Real* to = v + static_cast<std::ptrdiff_t>(y) * g.out_width * R::OUT;
        Window<Real, R::REACHED, L> sums;
        for (int32_t x = g.pad_x / R::STRIDE; x < g.out_width + BEFORE; x++) {
            if (MAY_BE) ahead.load();
            // Columns of which the kernel's column `tap` is for the last position.
            for (int32_t tap = 0; tap < R::STRIDE; tap++) {
                const int32_t column = x * R::STRIDE + tap - g.pad_x;
                if (column < 0 || column >= g.width) continue;
                // Columns of the kernel are in reverse.
                const bool is_whole = tap + BEFORE * R::STRIDE < R::KX;
                const Real* from = w - static_cast<std::ptrdiff_t>(y) * g.stride_y * row
                    + (R::KX - 1 - tap - (BEFORE - !is_whole) * R::STRIDE) * step;
                const std::ptrdiff_t apart = R::STRIDE * step;
                const int32_t end = begin[column * g.height + last];
                int32_t k = begin[column * g.height + first];
                if (is_whole)
                    for (; k < end; k++) {
                        if (WITH_VALUES) sums.add(from + offset[k] * unit, apart, value[k]);
                        else sums.add(from + offset[k] * unit, apart);
                    }
                else
                    for (; k < end; k++) {
                        if (WITH_VALUES)
                            sums.add_later(from + offset[k] * unit, apart, value[k]);
                        else sums.add_later(from + offset[k] * unit, apart);
                    }
            }
            if (x >= BEFORE) sums.head.add_to(to + (x - BEFORE) * R::OUT);
            sums.slide();
        }
    }
}

// Spikes of a channel from which on its weights are copied.
constexpr int32_t COPIED_FROM = 4;

template <bool WITH_VALUES, typename R, typename Real, int LEFT>
struct Tiles {
    static void add(const Geometry& g, const int32_t* begin, const Columns<Real>& spikes,
                    std::ptrdiff_t first, std::ptrdiff_t end, Real* copied,
                    const Real* w, Real* v, Ahead& ahead) {
        constexpr int SIZE = Tile<Real, R>::SIZE;
        constexpr int L = LEFT < SIZE ? LEFT : SIZE;
        constexpr int N = L * Registers<Real, 1>::WIDTH;
        const Real* own = w;
        if (copied) {
            Real* to = copied;
            for (std::ptrdiff_t r = first; r < end; r++, to += N)
                std::copy(w + r * R::OUT, w + r * R::OUT + N, to);
            own = copied - first * N;
        }
        add_block<WITH_VALUES, R, L>(
            g, begin, spikes.offset, spikes.value, own, copied != nullptr, v,
            ahead);
        Tiles<WITH_VALUES, R, Real, LEFT - L>::add(
            g, begin, spikes, first, end, copied, w + N, v + N, ahead);
    }
};
template <bool WITH_VALUES, typename R, typename Real>
struct Tiles<WITH_VALUES, R, Real, 0> {
    static void add(const Geometry&, const int32_t*, const Columns<Real>&, std::ptrdiff_t,
                    std::ptrdiff_t, Real*, const Real*, Real*, Ahead&) {}
};

template <bool WITH_VALUES, typename R, typename Real>
void deliver(const Geometry& g, const Columns<Real>& spikes, const Real* w, Real* v) {
    constexpr int WHOLE = Tile<Real, R>::WHOLE, PARTS = Tile<Real, R>::PARTS;
    const int32_t n_places = g.width * g.height;
    const int32_t n_spikes = spikes.begin[spikes.n_blocks * n_places];
    const std::ptrdiff_t of_channel = R::KX * g.ky, n_rows = spikes.channels * of_channel;
    const std::ptrdiff_t size = spikes.block * of_channel;
    const int32_t n_times = g.out_height * g.out_width * PARTS;
    static std::vector<Real> memory;
    Real* copied = nullptr;
    if (Tile<Real, R>::IS_COPIED && n_spikes >= COPIED_FROM * spikes.channels) {
        memory.resize(size * Tile<Real, R>::SIZE * Registers<Real, 1>::WIDTH + 16);
        copied = memory.data();
        copied += (64 - reinterpret_cast<uintptr_t>(copied) % 64) % 64 / sizeof(Real);
    }
    // The same weights for all positions: they stay in the cache.
    for (int32_t block = 0; block < spikes.n_blocks; block++) {
        const std::ptrdiff_t first = block * size;
        const std::ptrdiff_t end = first + size < n_rows ? first + size : n_rows;
        Ahead ahead = {reinterpret_cast<const char*>(w + end * R::OUT), 0};
        if (copied && end < n_rows)
            ahead.n_lines = int32_t(size * R::OUT * sizeof(Real) / 64 / n_times) + 1;
        Tiles<WITH_VALUES, R, Real, WHOLE>::add(
            g, spikes.begin + block * n_places, spikes, first, end, copied, w, v, ahead);
    }
}

// Bytes of weights that are to stay in the first-level cache.
constexpr int32_t CACHED = 24576;
// Spikes of a window and block that are worth the targets' loads and stores.
constexpr int32_t WORTHWHILE = 8;

// Channels of a block: so few that their weights stay in the cache, but enough spikes.
template <typename R, typename Real>
int32_t block_size(const Geometry& g, int32_t channels, int32_t n_spikes) {
    constexpr int32_t ROW =
        R::KX * Tile<Real, R>::SIZE * Registers<Real, 1>::WIDTH * int32_t(sizeof(Real));
    const int32_t fitting = CACHED / (ROW * g.ky) + 1;
    const int64_t in_window = int64_t(n_spikes) * g.ky * R::STRIDE / (g.width * g.height) + 1;
    const int64_t enough = int64_t(channels) * WORTHWHILE / in_window + 1;
    const int64_t size = enough > fitting ? enough : fitting;
    return size > channels ? channels : int32_t(size);
}

// List what is not 0 of n values in front of `offset` and `value`, and set them to 0.
template <typename Real>
inline int32_t list_values(Real* values, int32_t n, int32_t start, int32_t stride,
                           int32_t* offset, Real* value) {
    int32_t n_listed = 0;
    for (int32_t i = 0; i < n; i++) {
        // Whether there is something is hard to predict: it is always written.
        const Real found = values[i];
        offset[n_listed] = start + i * stride;
        value[n_listed] = found;
        n_listed += found != 0;
        values[i] = 0;
    }
    return n_listed;
}
#if defined(__AVX512F__)
template <>
inline int32_t list_values(float* values, int32_t n, int32_t start, int32_t stride,
                           int32_t* offset, float* value) {
    const __m512i counting =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i at = _mm512_add_epi32(
        _mm512_set1_epi32(start), _mm512_mullo_epi32(counting, _mm512_set1_epi32(stride)));
    int32_t n_listed = 0;
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i >= 16 ? 0xffff : (1u << (n - i)) - 1;
        const __m512 found = _mm512_maskz_loadu_ps(there, values + i);
        const __mmask16 some = _mm512_cmp_ps_mask(found, _mm512_setzero_ps(), _CMP_NEQ_OQ);
        _mm512_storeu_ps(value + n_listed, _mm512_maskz_compress_ps(some, found));
        _mm512_storeu_si512(offset + n_listed, _mm512_maskz_compress_epi32(some, at));
        _mm512_mask_storeu_ps(values + i, there, _mm512_setzero_ps());
        n_listed += __builtin_popcount(some);
        at = _mm512_add_epi32(at, _mm512_set1_epi32(16 * stride));
    }
    return n_listed;
}
#endif

// The weights of every subset of few channels, `n` each, added up.
template <typename Real>
void add_subsets(const Real* __restrict w, int32_t channels, int32_t n,
                 Real* __restrict table) {
    for (int32_t i = 0; i < n; i++) table[i] = 0;
    for (int32_t subset = 1; subset < 1 << channels; subset++) {
        const Real* own = w + __builtin_ctz(subset) * n;
        const Real* rest = table + (subset & (subset - 1)) * n;
        Real* sum = table + subset * n;
        for (int32_t i = 0; i < n; i++) sum[i] = rest[i] + own[i];
    }
}

}  // namespace cnn2snn_columns
#endif
