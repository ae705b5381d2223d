// An image as the constant input of a layer that reads it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cnn2snn {

// Each pixel times its weights, by the runs of target_runs.py, and the biases.
struct ImageCurrent {
    std::vector<int32_t> first, post, weight, length;
    std::vector<float> weights, biases;

    template <typename Real>
    void show(const float* pixels, size_t n_pixels, Real* current) const {
        std::copy(biases.begin(), biases.end(), current);
        // Channels of one position reach the same targets, each of which is then read
        // and written once.
        for (size_t pixel = 0; pixel < n_pixels;) {
            if (n_pixels - pixel >= 3 && is_together(pixel, 3)) {
                add<3>(pixels, pixel, current);
                pixel += 3;
            } else {
                add<1>(pixels, pixel, current);
                pixel++;
            }
        }
    }

private:
    // Whether pixels next to each other reach the same targets.
    bool is_together(size_t pixel, size_t n) const {
        const int32_t begin = first[pixel], n_runs = first[pixel + 1] - begin;
        for (size_t k = 1; k < n; k++) {
            const int32_t other = first[pixel + k];
            if (first[pixel + k + 1] - other != n_runs) return false;
            for (int32_t r = 0; r < n_runs; r++)
                if (post[other + r] != post[begin + r] || length[other + r] != length[begin + r])
                    return false;
        }
        return true;
    }

    // Add what N pixels give to the targets that they share.
    template <size_t N, typename Real>
    void add(const float* pixels, size_t pixel, Real* current) const {
        for (int32_t r = 0; r < first[pixel + 1] - first[pixel]; r++) {
            Real value[N];
            const float* from[N];
            for (size_t k = 0; k < N; k++) {
                value[k] = pixels[pixel + k];
                from[k] = weights.data() + weight[first[pixel + k] + r];
            }
            const int32_t n = length[first[pixel] + r];
            Real* __restrict target = current + post[first[pixel] + r];
            for (int32_t i = 0; i < n; i++) {
                Real sum = target[i];
                for (size_t k = 0; k < N; k++) sum += value[k] * from[k][i];
                target[i] = sum;
            }
        }
    }
};

}  // namespace cnn2snn
