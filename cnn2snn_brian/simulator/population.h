// What one population of neurons has to do in a program run, and how a run fails.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
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

template <typename T>
void write(std::ofstream& file, const T* data, size_t n) {
    file.write(reinterpret_cast<const char*>(data),
               static_cast<std::streamsize>(n * sizeof(T)));
}

// Recorded spikes: their neurons and steps.
struct Spikes {
    std::vector<int32_t> index, step;

    void clear() {
        index.clear();
        step.clear();
    }
    void write(std::ofstream& file, int64_t picture, size_t population) const {
        const int64_t head[3] = {picture, static_cast<int64_t>(population),
                                 static_cast<int64_t>(index.size())};
        cnn2snn::write(file, head, 3);
        cnn2snn::write(file, index.data(), index.size());
        cnn2snn::write(file, step.data(), step.size());
    }
};

// What one population of neurons has to do at the start of a picture and after a step.
struct Population {
    std::string name;
    int32_t* spikespace;  // indices of the neurons that spiked, then their number
    size_t n;
    size_t first;  // index of its first neuron among all neurons
    bool recorded;
    Spikes sent, taken;  // that are recorded; those that were taken back
    // How many spikes of each neuron an event of this step is; without it, one.
    std::function<void(int32_t*)> look_up;
    std::vector<int32_t> sizes;
    std::function<void()> start;
    int32_t every;                // steps from one of its own to the next
    std::function<void(int32_t)> hold;  // keep a lesioned neuron's potential at 0
    std::vector<int32_t> lesioned;
    std::vector<char> is_lesioned;

    // Count the spikes of a step, and keep those that are recorded. Of events that may be
    // several spikes, count what is left of these, the events, and what they took back:
    // `n_counts` blocks of the counts of all neurons.
    // All around it is compiled with less effort, see units.py.
#pragma GCC push_options
#pragma GCC optimize("O3")
    template <typename Count>
    void count(Count* __restrict counts, size_t n_neurons, size_t n_counts, bool is_kept,
               int32_t now) {
        counts += first;
        Count* __restrict events = counts + n_neurons;
        Count* __restrict corrections = events + n_neurons;
        const int32_t n_spikes = spikespace[n];
        if (!look_up) {
            for (int32_t k = 0; k < n_spikes; k++) counts[spikespace[k]]++;
            if (n_counts > 1)
                for (int32_t k = 0; k < n_spikes; k++) events[spikespace[k]]++;
            if (!is_kept) return;
            sent.index.insert(sent.index.end(), spikespace, spikespace + n_spikes);
            sent.step.insert(sent.step.end(), n_spikes, now);
            return;
        }
        // All neurons, whether they spiked or not: without branches, this is faster. Sums
        // fit in the end; on the way, they may wrap around.
        sizes.resize(n);
        int32_t* __restrict by = sizes.data();
        look_up(by);
        for (const int32_t i : lesioned) by[i] = 0;
        for (size_t i = 0; i < n; i++) counts[i] += static_cast<Count>(by[i]);
        for (size_t i = 0; i < n; i++) events[i] += static_cast<Count>(by[i] != 0);
        if (n_counts > 2)
            for (size_t i = 0; i < n; i++)
                corrections[i] += static_cast<Count>(by[i] < 0 ? -by[i] : 0);
        for (int32_t k = 0; is_kept && k < n_spikes; k++) {
            const int32_t i = spikespace[k];
            Spikes& spikes = by[i] < 0 ? taken : sent;
            spikes.index.insert(spikes.index.end(), std::abs(by[i]), i);
            spikes.step.insert(spikes.step.end(), std::abs(by[i]), now);
        }
    }

    // As whole numbers.
    template <typename Real>
    static void rounded(const Real* __restrict sizes, size_t n, int32_t* __restrict found) {
        for (size_t i = 0; i < n; i++) found[i] = static_cast<int32_t>(sizes[i]);
    }
#pragma GCC pop_options

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
