// From the flags of a block of neurons to the indices of those that spike.
#ifndef CNN2SNN_SPIKE_LIST
#define CNN2SNN_SPIKE_LIST
#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace cnn2snn_spikes {

// Append to `spikes`, and give their number. `fired` is -1 or 0, in whole blocks of 64;
// before `start`, there are that many entries at most: nothing behind the list of all
// neurons is written.
inline int32_t listed(const int32_t* fired, int32_t start, int32_t n, int32_t* spikes) {
    int32_t n_spikes = 0;
#if defined(__AVX512F__)
    // All indices of a register at once, without branches.
    const __m512i counting =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int32_t k = 0; k < n; k += 16) {
        const __mmask16 some = _mm512_cmplt_epi32_mask(
            _mm512_loadu_si512(fired + k), _mm512_setzero_si512());
        const __m512i index =
            _mm512_maskz_compress_epi32(some, _mm512_add_epi32(counting, _mm512_set1_epi32(start + k)));
        const int32_t found = __builtin_popcount(some);
        if (n - k >= 16) _mm512_storeu_si512(spikes + n_spikes, index);
        else _mm512_mask_storeu_epi32(spikes + n_spikes, (1u << found) - 1, index);
        n_spikes += found;
    }
#elif defined(__SSE2__)
    uint64_t bits = 0;
#if defined(__AVX__)
    for (int32_t k = 0; k < 64; k += 8) {
        const __m256 some = _mm256_loadu_ps(reinterpret_cast<const float*>(fired + k));
        bits |= uint64_t(_mm256_movemask_ps(some)) << k;
    }
#else
    for (int32_t k = 0; k < 64; k += 4) {
        const __m128 some = _mm_loadu_ps(reinterpret_cast<const float*>(fired + k));
        bits |= uint64_t(_mm_movemask_ps(some)) << k;
    }
#endif
    // Only spikes cost a step.
    for (; bits != 0; bits &= bits - 1) spikes[n_spikes++] = start + __builtin_ctzll(bits);
#else
    for (int32_t k = 0; k < n; k++)
        if (fired[k]) spikes[n_spikes++] = start + k;
#endif
    return n_spikes;
}

}  // namespace cnn2snn_spikes
#endif
