// The settings of a run, by name, and how they reach Brian2's arrays.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "population.h"

namespace cnn2snn {

class RunSettings {
public:
    // A setting of the run, by its name; every setting arrives like this.
    const std::vector<double>& numbers(const std::string& name) const {
        static const std::vector<double> none;
        const auto found = settings_.find(name);
        return found == settings_.end() ? none : found->second;
    }
    double number(const std::string& name) const {
        const auto& found = numbers(name);
        if (found.size() != 1)
            fail(EXIT_BAD_INPUTS, "the inputs file has no number " + name);
        return found[0];
    }

    // A setting that is a variable of a group: one number for all of it, or for each
    // neuron the number of its channel, channels last.
    template <typename Real>
    void set(const std::string& name, Real* values, size_t n) const {
        const auto& given = numbers(name);
        if (given.empty() || n % given.size() != 0)
            fail(EXIT_BAD_INPUTS, "the inputs file has no fitting numbers " + name);
        for (size_t i = 0; i < n; i++)
            values[i] = static_cast<Real>(given[i % given.size()]);
    }

    // Weights whose source has channels with thresholds of their own: a spike of a
    // channel stands for its threshold over the largest one.
    template <typename Real>
    void scale_weights(const std::string& name, Real* weights, size_t n, size_t block,
                       size_t channels) const {
        const auto& worth = numbers(name);
        if (worth.empty()) return;
        for (size_t k = 0; k < n; k++)
            weights[k] *= static_cast<Real>(worth[k / block % channels]);
    }
    template <typename Weights, typename Sources>
    void scale_synapses(const std::string& name, Weights& weights, const Sources& sources,
                        size_t channels) const {
        const auto& worth = numbers(name);
        if (worth.empty()) return;
        for (size_t k = 0; k < weights.size(); k++)
            weights[k] *= worth[static_cast<size_t>(sources[k]) % channels];
    }

protected:
    std::map<std::string, std::vector<double>> settings_;
};

}  // namespace cnn2snn
