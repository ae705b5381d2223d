// What one population of neurons has to do in a program run, and how a run fails.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace cnn2snn {

const int EXIT_BAD_INPUTS = 3;
const int EXIT_WRITE_FAILED = 4;
const int EXIT_INTERRUPTED = 130;

[[noreturn]] inline void fail(int code, const std::string& message) {
    std::cerr << message << std::endl;
    std::exit(code);
}

// What one population of neurons has to do at the start of a picture and after a step.
struct Population {
    std::string name;
    int32_t* spikespace;  // indices of the neurons that spiked, then their number
    size_t n;
    size_t first;  // index of its first neuron among all neurons
    bool recorded;
    std::vector<int32_t> index, step;
    // How many spikes the event of a neuron is; without it, one.
    std::function<int32_t(int32_t)> size;
    std::vector<int32_t> taken_index, taken_step;  // spikes that were taken back
    std::function<void()> start;
    int32_t every;                // steps from one of its own to the next
    std::function<void(int32_t)> hold;  // keep a lesioned neuron's potential at 0
    std::vector<int32_t> lesioned;
    std::vector<char> is_lesioned;

    // Keep those spikes that `keep` is true for.
    template <typename Keep>
    void filter(Keep keep) {
        int32_t n_kept = 0;
        for (int32_t k = 0; k < spikespace[n]; k++)
            if (keep(spikespace[k])) spikespace[n_kept++] = spikespace[k];
        spikespace[n] = n_kept;
    }
};

// A variable of some neurons of a population, step after step.
struct Trace {
    std::function<double(int32_t)> value;
    std::vector<int32_t> neurons;
    std::vector<float> kept;
};

}  // namespace cnn2snn
