// Sums of weights in registers: the other way to deliver spikes, for `v_post += w`.
//
// A spike that goes through its targets loads, adds and stores each of them. Here one
// output position keeps the sums of its channels in registers, goes through the spikes
// of its window, and stores once.
#ifndef CNN2SNN_GATHER
#define CNN2SNN_GATHER
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cnn2snn_gather {

#if defined(__AVX512F__)
constexpr int LANE_BYTES = 64;
#elif defined(__AVX__)
constexpr int LANE_BYTES = 32;
#else
constexpr int LANE_BYTES = 16;
#endif

// A vector register, as it is kept and as it is loaded from anywhere.
template <typename Real>
struct Lane;
template <>
struct Lane<float> {
    typedef float Kept __attribute__((vector_size(LANE_BYTES)));
    typedef float Loaded __attribute__((vector_size(LANE_BYTES), aligned(4), may_alias));
};
template <>
struct Lane<double> {
    typedef double Kept __attribute__((vector_size(LANE_BYTES)));
    typedef double Loaded __attribute__((vector_size(LANE_BYTES), aligned(8), may_alias));
};

// N sums: whole registers, then single numbers. Members, not an array: the compiler
// keeps them in registers then.
template <typename Real, int N, bool is_wide = (N >= LANE_BYTES / int(sizeof(Real)))>
struct Sums {
    static constexpr int WIDTH = LANE_BYTES / int(sizeof(Real));
    typename Lane<Real>::Kept head = {};
    Sums<Real, N - WIDTH> tail;
    typedef typename Lane<Real>::Loaded Loaded;
    __attribute__((always_inline)) void add(const Real* w) {
        head += *reinterpret_cast<const Loaded*>(w);
        tail.add(w + WIDTH);
    }
    __attribute__((always_inline)) void add(const Real* w, Real value) {
        head += *reinterpret_cast<const Loaded*>(w) * value;
        tail.add(w + WIDTH, value);
    }
    __attribute__((always_inline)) void store(Real* v) const {
        *reinterpret_cast<Loaded*>(v) += head;
        tail.store(v + WIDTH);
    }
};
template <typename Real, int N>
struct Sums<Real, N, false> {
    Real head = 0;
    Sums<Real, N - 1> tail;
    __attribute__((always_inline)) void add(const Real* w) {
        head += *w;
        tail.add(w + 1);
    }
    __attribute__((always_inline)) void add(const Real* w, Real value) {
        head += *w * value;
        tail.add(w + 1, value);
    }
    __attribute__((always_inline)) void store(Real* v) const {
        *v += head;
        tail.store(v + 1);
    }
};
template <typename Real>
struct Sums<Real, 0, false> {
    void add(const Real*) {}
    void add(const Real*, Real) {}
    void store(Real*) const {}
};

// The geometry of a convolution, constants of the program.
template <int CHANNELS_IN, int HEIGHT, int WIDTH, int CHANNELS_OUT, int OUT_HEIGHT,
          int OUT_WIDTH, int KY, int KX, int STRIDE_Y, int STRIDE_X, int TOP, int LEFT,
          int DILATION_Y>
struct Convolution {
    // Channels whose sums fit into registers. A block of weights serves all positions.
    static constexpr int BLOCK = LANE_BYTES * 2;

    // Spikes in ascending order; without values all of them count 1.
    template <typename Real>
    static void deliver(const int32_t* spikes, const Real* values, int32_t n,
                        int32_t source_start, const Real* w, Real* __restrict v) {
        static std::vector<int32_t> first(HEIGHT * WIDTH + 1), offset;
        offset.resize(static_cast<size_t>(n));
        int32_t place = 0;
        for (int32_t k = 0; k < n; k++) {
            const int32_t source = spikes[k] - source_start;
            const int32_t here = source / CHANNELS_IN;
            while (place <= here) first[place++] = k;
            offset[k] = (source % CHANNELS_IN * KY * KX - here % WIDTH) * CHANNELS_OUT;
        }
        while (place <= HEIGHT * WIDTH) first[place++] = n;
        Blocks<0, true>::run(first.data(), offset.data(), values, w, v);
    }

private:
    template <int START, bool MORE>
    struct Blocks {
        template <typename Real>
        static void run(const int32_t* first, const int32_t* offset,
                        const Real* values, const Real* w, Real* __restrict v) {
            constexpr int SIZE =
                CHANNELS_OUT - START < BLOCK ? CHANNELS_OUT - START : BLOCK;
            if (values == nullptr)
                positions<START, SIZE, false>(first, offset, values, w, v);
            else
                positions<START, SIZE, true>(first, offset, values, w, v);
            constexpr int NEXT = START + SIZE;
            Blocks<NEXT, (NEXT < CHANNELS_OUT)>::run(first, offset, values, w, v);
        }
    };
    template <int START>
    struct Blocks<START, false> {
        template <typename Real>
        static void run(const int32_t*, const int32_t*, const Real*, const Real*, Real*) {}
    };

    template <int START, int SIZE, bool WITH_VALUES, typename Real>
    static void positions(const int32_t* first, const int32_t* offset,
                          const Real* values, const Real* w, Real* __restrict v) {
        for (int y = 0; y < OUT_HEIGHT; y++) {
            for (int x = 0; x < OUT_WIDTH; x++) {
                Sums<Real, SIZE> sums;
                const int left = x * STRIDE_X - LEFT;
                const int begin = left < 0 ? 0 : left;
                const int end = left + KX > WIDTH ? WIDTH : left + KX;
                bool any = false;
                for (int tap = 0; tap < KY; tap++) {
                    const int row = y * STRIDE_Y - TOP + tap * DILATION_Y;
                    if (row < 0 || row >= HEIGHT || begin >= end) continue;
                    const int32_t stop = first[row * WIDTH + end];
                    int32_t k = first[row * WIDTH + begin];
                    any |= k < stop;
                    const Real* base =
                        w + (tap * KX + KX - 1 + left) * CHANNELS_OUT + START;
                    for (; k < stop; k++) {
                        if (WITH_VALUES) sums.add(base + offset[k], values[k]);
                        else sums.add(base + offset[k]);
                    }
                }
                if (any) sums.store(v + (y * OUT_WIDTH + x) * CHANNELS_OUT + START);
            }
        }
    }
};

}  // namespace cnn2snn_gather
#endif
