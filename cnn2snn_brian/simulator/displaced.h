// Input spikes that are displaced in time.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "random_numbers.h"
#include "shown.h"

namespace cnn2snn {

// Draw the input spikes of a trial as its steps will, and displace them: whether a
// neuron spikes, step by step.
template <typename Show>
std::vector<char> displaced(Shown& shown, size_t n, const double* rates, double dt,
                            double jitter, Show show) {
    const int32_t n_steps = shown.n_steps;
    std::vector<char> found(static_cast<size_t>(n_steps) * n, 0);
    Random ahead = random();
    const auto move = [&](int32_t step, size_t i) {
        const double to = std::rint(step + jitter * input_noise_random().normal());
        if (to >= 0 && to < n_steps) found[static_cast<size_t>(to) * n + i] = 1;
    };
    std::vector<int32_t> given(n);
    for (int32_t step = 0; step < n_steps; step++) {
        if (shown.are_spikes()) {
            const int32_t n_spikes = shown.spikes(step, given.data());
            for (int32_t k = 0; k < n_spikes; k++)
                move(step, static_cast<size_t>(given[static_cast<size_t>(k)]));
            continue;
        }
        const int32_t frame = shown.frame(step);
        if (step == 0 || frame != shown.frame(step - 1)) show(frame);
        for (size_t i = 0; i < n; i++)
            if (ahead.uniform() < rates[i] * dt) move(step, i);
    }
    return found;
}

}  // namespace cnn2snn
