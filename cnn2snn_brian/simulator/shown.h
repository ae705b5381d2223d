// What is shown in a trial: frames and when they are, or spikes of the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "input_file.h"

namespace cnn2snn {

struct Shown {
    int32_t n_steps = 0;
    std::vector<float> frames;            // one behind another; none if spikes are given
    std::vector<int32_t> frame_of_step;   // empty if there is one frame only
    std::vector<int32_t> neuron, spike_step;  // given spikes, in order of time
    size_t next = 0;                      // the next given spike

    void start() { next = 0; }

    void read(InputFile& file, size_t n_values) {
        n_steps = static_cast<int32_t>(file.read_one<int64_t>());
        file.read_array(frames);
        file.read_array(frame_of_step);
        file.read_array(neuron);
        file.read_array(spike_step);
        if (n_steps < 1 || (n_values != 0 && frames.size() % n_values != 0)
            || (!frame_of_step.empty()
                && frame_of_step.size() != static_cast<size_t>(n_steps))
            || neuron.size() != spike_step.size())
            fail(EXIT_BAD_INPUTS, "the inputs file has a stimulus that does not fit");
    }

    bool are_spikes() const { return frames.empty(); }

    int32_t frame(int32_t step) const {
        if (are_spikes()) return -1;
        return frame_of_step.empty() ? 0 : frame_of_step[static_cast<size_t>(step)];
    }

    const float* values(int32_t frame, size_t n_values) const {
        return frame < 0 ? nullptr
                         : frames.data() + static_cast<size_t>(frame) * n_values;
    }

    // Put the spikes of a step where they are expected, and give their number. Steps have
    // to be asked for in order; a first one starts anew.
    int32_t spikes(int32_t step, int32_t* where) {
        if (step == 0) start();
        int32_t n = 0;
        for (; next < neuron.size() && spike_step[next] == step; next++)
            where[n++] = neuron[next];
        return n;
    }
};

}  // namespace cnn2snn
