// Random numbers of a compiled network.
#pragma once

#include <cmath>
#include <cstdint>

namespace cnn2snn {

// Random numbers of the program: xoshiro256+ (Blackman and Vigna 2021,
// doi:10.1145/3460772), several times as fast as Brian2's Mersenne twister.
class Random {
public:
    // The state is filled by splitmix64, as its authors advise.
    void seed(uint64_t value) {
        for (auto& part : state_) {
            value += 0x9e3779b97f4a7c15u;
            uint64_t z = value;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
            z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
            part = z ^ (z >> 31);
        }
        has_spare_ = false;
    }

    // Uniform in [0, 1), 53 bits.
    double uniform() {
        const uint64_t sum = state_[0] + state_[3];
        const uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = (state_[3] << 45) | (state_[3] >> 19);
        return static_cast<double>(sum >> 11) / 9007199254740992.0;
    }

    // Standard normal, two at a time (Marsaglia and Bray 1964, doi:10.1137/1006063).
    double normal() {
        if (has_spare_) {
            has_spare_ = false;
            return spare_;
        }
        double x, y, square;
        do {
            x = 2 * uniform() - 1;
            y = 2 * uniform() - 1;
            square = x * x + y * y;
        } while (square >= 1 || square == 0);
        const double scale = std::sqrt(-2 * std::log(square) / square);
        spare_ = scale * y;
        has_spare_ = true;
        return scale * x;
    }

private:
    uint64_t state_[4] = {1, 2, 3, 4};
    double spare_ = 0;
    bool has_spare_ = false;
};

// Streams of their own, so that a picture's input spikes are the same whatever else
// draws random numbers: input spikes, rand() and randn() of everything else, and what is
// done to the input.
inline Random& random() {
    static Random generator;
    return generator;
}
inline Random& network_random() {
    static Random generator;
    return generator;
}
inline Random& noise_random() {
    static Random generator;
    return generator;
}
inline Random& input_noise_random() {
    static Random generator;
    return generator;
}

}  // namespace cnn2snn
