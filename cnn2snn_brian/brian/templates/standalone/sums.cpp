// Sums of weights in registers: how many spikes are delivered by `v_post += w`.
//
// The channels of one position reach the same targets. Where many of them spiked, the
// targets are loaded and stored once for all, not once for each few of them.
#ifndef CNN2SNN_SUMS
#define CNN2SNN_SUMS
#include <cstdint>

namespace cnn2snn_sums {

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

// N registers. Members, not an array: the compiler keeps them in registers then.
template <typename Real, int N>
struct Registers {
    static constexpr int WIDTH = LANE_BYTES / int(sizeof(Real));
    typedef typename Lane<Real>::Loaded Loaded;
    typename Lane<Real>::Kept head = {};
    Registers<Real, N - 1> tail;
    __attribute__((always_inline)) void add(const Real* w) {
        head += *reinterpret_cast<const Loaded*>(w);
        tail.add(w + WIDTH);
    }
    __attribute__((always_inline)) void add(const Real* w, Real value) {
        head += *reinterpret_cast<const Loaded*>(w) * value;
        tail.add(w + WIDTH, value);
    }
    __attribute__((always_inline)) void add_to(Real* v) const {
        *reinterpret_cast<Loaded*>(v) += head;
        tail.add_to(v + WIDTH);
    }
};
template <typename Real>
struct Registers<Real, 0> {
    void add(const Real*) {}
    void add(const Real*, Real) {}
    void add_to(Real*) const {}
};

// Spikes of one position: `offset` is where the weights of each channel start, `value`
// what its spikes are worth.
template <typename Real>
struct Spikes {
    const int32_t* offset;
    const Real* value;
    int32_t n;
};

template <typename Real, int N, bool WITH_VALUES>
void add_registers(Spikes<Real> spikes, const Real* w, Real* __restrict v) {
    Registers<Real, N> sums;
    for (int32_t k = 0; k < spikes.n; k++) {
        if (WITH_VALUES) sums.add(w + spikes.offset[k], spikes.value[k]);
        else sums.add(w + spikes.offset[k]);
    }
    sums.add_to(v);
}

// The last targets, too few for a register: weights up to the last one are loaded, and
// those of the targets before, which are done, are left out.
template <typename Real, bool WITH_VALUES>
void add_rest(Spikes<Real> spikes, const Real* w, Real* __restrict v, int32_t rest) {
    constexpr int WIDTH = Registers<Real, 1>::WIDTH;
    Real all[WIDTH] = {};
    add_registers<Real, 1, WITH_VALUES>(spikes, w - (WIDTH - rest), all);
    for (int32_t i = 0; i < rest; i++) v[i] += all[WIDTH - rest + i];
}

// A run that is shorter than a register.
template <typename Real, bool WITH_VALUES>
void add_few(Spikes<Real> spikes, const Real* w, Real* __restrict v, int32_t length) {
    for (int32_t k = 0; k < spikes.n; k++) {
        const Real value = WITH_VALUES ? spikes.value[k] : 1;
        for (int32_t i = 0; i < length; i++) v[i] += w[spikes.offset[k] + i] * value;
    }
}

// Registers for sums; the others hold a value and what is loaded.
constexpr int MOST = 12;

template <typename Real, bool WITH_VALUES, int N = MOST>
struct ByNumber {
    static void add(int32_t n, Spikes<Real> spikes, const Real* w, Real* v) {
        if (n == N) add_registers<Real, N, WITH_VALUES>(spikes, w, v);
        else ByNumber<Real, WITH_VALUES, N - 1>::add(n, spikes, w, v);
    }
};
template <typename Real, bool WITH_VALUES>
struct ByNumber<Real, WITH_VALUES, 0> {
    static void add(int32_t, Spikes<Real>, const Real*, Real*) {}
};

// Positions with spikes: `place` of each, and where its spikes begin in the list.
template <typename Real>
struct Positions {
    const int32_t* place;
    const int32_t* begin;
    int32_t n;
    const int32_t* offset;
    const Real* value;
};

// The table of runs is that of projections/kernel.py, LONGEST the length of the longest.
template <bool WITH_VALUES, int LONGEST, typename Real>
void deliver(Positions<Real> positions, const int32_t* run_first, const int32_t* runs,
             const Real* w, Real* v) {
    constexpr int WIDTH = Registers<Real, 1>::WIDTH;
    constexpr int WHOLE = LONGEST / WIDTH, PARTS = (WHOLE + MOST - 1) / MOST;
    constexpr int SIZE = PARTS == 0 ? 0 : (WHOLE + PARTS - 1) / (PARTS + !PARTS);
    // The same part of a kernel row for all positions: these weights stay in the cache.
    bool is_more = true;
    for (int32_t run = 0; is_more; run++) {
        is_more = false;
        for (int32_t part = 0; part < PARTS + !PARTS; part++) {
            for (int32_t p = 0; p < positions.n; p++) {
                const int32_t place = positions.place[p];
                const int32_t at = run_first[place] + run;
                const int32_t left = run_first[place + 1] - at;
                if (left <= 0) continue;
                is_more |= left > 1;
                const int32_t length = runs[3 * at + 2];
                // Parts of about the same size, but not larger than MOST registers. Most
                // runs are as long as the longest: nothing is divided for those.
                const int32_t whole = length / WIDTH;
                const int32_t parts = (whole + MOST - 1) / MOST;
                const int32_t size =
                    length == LONGEST ? SIZE : (whole + parts - 1) / (parts + !parts);
                const int32_t begin = positions.begin[p];
                const Spikes<Real> spikes = {
                    positions.offset + begin, positions.value + (WITH_VALUES ? begin : 0),
                    positions.begin[p + 1] - begin};
                const Real* from = w + runs[3 * at + 1];
                Real* to = v + runs[3 * at];
                const int32_t first = part * size;
                const int32_t n = whole - first < size ? whole - first : size;
                if (n > 0)
                    ByNumber<Real, WITH_VALUES>::add(
                        n, spikes, from + first * WIDTH, to + first * WIDTH);
                if (part > 0) continue;
                const int32_t done = whole * WIDTH, rest = length - done;
                if (whole == 0) add_few<Real, WITH_VALUES>(spikes, from, to, rest);
                else if (rest > 0)
                    add_rest<Real, WITH_VALUES>(spikes, from + done, to + done, rest);
            }
        }
    }
}

}  // namespace cnn2snn_sums
#endif
