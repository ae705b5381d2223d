// An image as the constant input of a layer that reads it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "aligned.h"

namespace cnn2snn {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

// Runs of projections/kernel.py, weights and biases, as a program reads them.
struct ImageArrays {
    std::vector<int32_t> first, post, weight, length;
    std::vector<float> weights, biases;
};

// Each pixel times its weights, and the biases. The runs of projections/kernel.py say which
// targets a pixel reaches; here it is the other way round, so that the sums of targets
// that read the same pixels stay in registers.
template <typename Real>
class ImageCurrent {
public:
    explicit ImageCurrent(const ImageArrays& given)
        : weights_(new Real[given.weights.size()]), biases_(given.biases) {
        const auto &first = given.first, &post = given.post, &length = given.length;
        std::copy(given.weights.begin(), given.weights.end(), weights_.get());
        // Targets are divided where a run begins or ends.
        int32_t n = 0;
        for (size_t r = 0; r < post.size(); r++) n = std::max(n, post[r] + length[r]);
        std::vector<int32_t> part_of(static_cast<size_t>(n) + 1);
        for (size_t r = 0; r < post.size(); r++)
            part_of[post[r]] = part_of[post[r] + length[r]] = 1;
        part_of[0] = 0;
        for (int32_t i = 1; i <= n; i++) part_of[i] += part_of[i - 1];
        parts_.resize(static_cast<size_t>(part_of[n]) + 1);
        for (int32_t i = n - 1; i >= 0; i--) {
            parts_[part_of[i]].target = i;
            parts_[part_of[i]].length++;
        }
        std::vector<std::vector<Term>> terms(parts_.size());
        for (int32_t pixel = 0; pixel + 1 < static_cast<int32_t>(first.size()); pixel++)
            for (int32_t r = first[pixel]; r < first[pixel + 1]; r++)
                for (int32_t p = part_of[post[r]]; p < part_of[post[r] + length[r]]; p++) {
                    Part& part = parts_[p];
                    if (terms[p].empty()) part.pixel = pixel;
                    terms[p].push_back(
                        {pixel - part.pixel, given.weight[r] + part.target - post[r]});
                }
        // Most positions of a convolution read alike: their terms are kept once.
        std::map<std::vector<Term>, int32_t> known;
        for (size_t p = 0; p < parts_.size(); p++) {
            const auto found = known.insert({terms[p], static_cast<int32_t>(terms_.size())});
            if (found.second) terms_.insert(terms_.end(), terms[p].begin(), terms[p].end());
            parts_[p].first = found.first->second;
            parts_[p].n = static_cast<int32_t>(terms[p].size());
        }
    }

    // All around it is compiled with less effort, see units.py.
#pragma GCC push_options
#pragma GCC optimize("O3")
    void show(const float* pixels, Real* current) const {
        std::copy(biases_.begin(), biases_.end(), current);
        for (size_t p = 0; p < parts_.size();) {
            const Part* part = parts_.data() + p;
            const bool are_alike = p + TOGETHER <= parts_.size() && part->is_like(part[1])
                && part->is_like(part[2]) && part->is_like(part[3]);
            if (are_alike) add<TOGETHER>(part, pixels, current);
            else add<1>(part, pixels, current);
            p += are_alike ? TOGETHER : 1;
        }
    }

private:
    typedef Real Anywhere
        __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(Real)), may_alias));
    static constexpr int32_t WIDTH = VECTOR_BYTES / int32_t(sizeof(Real));

    // Parts whose weights are read together.
    static constexpr int TOGETHER = 4;

    // Targets that read the same pixels: those of the terms from `first` on.
    struct Part {
        int32_t target, length, pixel, first, n;
        bool is_like(const Part& other) const {
            return first == other.first && n == other.n && length == other.length;
        }
    };
    // A pixel, from the first one of the part, and the weight of the first target.
    struct Term {
        int32_t pixel, weight;
        bool operator<(const Term& other) const {
            return pixel < other.pixel || (pixel == other.pixel && weight < other.weight);
        }
    };
    std::unique_ptr<Real[]> weights_;  // an array begins at a cache line, see aligned.h
    std::vector<float> biases_;
    std::vector<Part> parts_;
    std::vector<Term> terms_;

    template <int N>
    void add(const Part* part, const float* pixels, Real* current) const {
        int32_t i = 0;
        for (; i + 2 * WIDTH <= part->length; i += 2 * WIDTH)
            add_vectors<N, 2, Anywhere>(part, i, pixels, current);
        for (; i + WIDTH <= part->length; i += WIDTH)
            add_vectors<N, 1, Anywhere>(part, i, pixels, current);
        for (; i < part->length; i++) add_vectors<N, 1, Real>(part, i, pixels, current);
    }

    // Sum up M vectors of targets of N parts, from the i-th target on.
    template <int N, int M, typename Some>
    void add_vectors(const Part* part, int32_t i, const float* pixels, Real* current) const {
        Some sums[N][M];
        for (int p = 0; p < N; p++)
            for (int m = 0; m < M; m++)
                sums[p][m] = reinterpret_cast<const Some*>(current + part[p].target + i)[m];
        const Term* terms = terms_.data() + part->first;
        const Real* weights = weights_.get() + i;
        for (int32_t k = 0; k < part->n; k++) {
            const Some* from = reinterpret_cast<const Some*>(weights + terms[k].weight);
            for (int p = 0; p < N; p++)
                for (int m = 0; m < M; m++)
                    sums[p][m] += pixels[part[p].pixel + terms[k].pixel] * from[m];
        }
        for (int p = 0; p < N; p++)
            for (int m = 0; m < M; m++)
                reinterpret_cast<Some*>(current + part[p].target + i)[m] = sums[p][m];
    }
#pragma GCC pop_options
};

}  // namespace cnn2snn
