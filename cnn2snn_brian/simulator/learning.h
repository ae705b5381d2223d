// What a compiled network learns: weights that go on from picture to picture or are
// reset, variables of the synapses, rewards, and the learned weights as a result.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "picture_program.h"

namespace cnn2snn {

class Learning {
public:
    Learning(PictureProgram& program, const std::string& directory)
        : program_(program),
          keeps_(program.number("keep_weights") != 0),
          rewards_(program.numbers("reward")),
          labels_(program.numbers("labels")),
          file_(directory + "weights", std::ios::binary) {
        if (!file_) fail(EXIT_WRITE_FAILED, "can't write results to " + directory);
    }

    // The weights into a layer. They start with those of the run, if it has any.
    template <typename Real>
    void add_weights(const std::string& layer, std::vector<Real>& weights) {
        program_.restore(weights.data(), weights.size());
        const auto& given = program_.numbers(layer + ".weights");
        if (!given.empty()) {
            if (given.size() != weights.size())
                fail(EXIT_BAD_INPUTS, "the inputs file has no fitting weights of " + layer);
            for (size_t k = 0; k < weights.size(); k++)
                weights[k] = static_cast<Real>(given[k]);
        }
        if (!keeps_) add_state(weights);
        weights_.push_back([&weights]() {
            return std::vector<double>(weights.begin(), weights.end());
        });
    }

    // A variable of the synapses, which starts each picture as it was when it was loaded.
    template <typename T>
    void add_state(std::vector<T>& values) {
        program_.restore(values.data(), values.size());
        const std::vector<T> before(values);
        program_.add_start([&values, before]() { values = before; });
    }

    // The reward of the picture that ends.
    double reward() const {
        const size_t picture = static_cast<size_t>(program_.picture_);
        if (!labels_.empty())
            return static_cast<double>(answer()) == labels_[picture] ? 1 : -1;
        return rewards_.empty() ? 0 : rewards_[picture];
    }

    // Behind what rules do at a picture's end: the weights that were learned; those of
    // the last picture, if weights go on.
    void write() {
        if (keeps_ && !is_last()) return;
        for (size_t layer = 0; layer < weights_.size(); layer++) {
            const std::vector<double> weights = weights_[layer]();
            const int64_t head[3] = {program_.picture_, static_cast<int64_t>(layer),
                                     static_cast<int64_t>(weights.size())};
            file_.write(reinterpret_cast<const char*>(head), sizeof(head));
            file_.write(reinterpret_cast<const char*>(weights.data()),
                        static_cast<std::streamsize>(weights.size() * sizeof(double)));
        }
        if (is_last()) file_.flush();
        if (!file_) fail(EXIT_WRITE_FAILED, "can't write the learned weights");
    }

private:
    bool is_last() const { return program_.picture_ + 1 == program_.n_pictures_; }

    // The first neuron of the last population with most spikes so far; -1 without any.
    int64_t answer() const {
        const auto& last = program_.populations_[program_.output_];
        int64_t found = -1;
        for (uint32_t i = 0, most = 0; i < last.n; i++)
            if (program_.count_of(last.first + i) > most) {
                most = program_.count_of(last.first + i);
                found = i;
            }
        return found;
    }

    PictureProgram& program_;
    bool keeps_;
    const std::vector<double>&rewards_, &labels_;
    std::ofstream file_;
    std::vector<std::function<std::vector<double>()>> weights_;
};

}  // namespace cnn2snn
