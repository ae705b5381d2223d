// The settings of a run, by name, and how they reach Brian2's arrays.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
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
    // neuron the number of its channel, channels last. Of the name, no string is made by
    // those who call: large networks do so for thousands of names.
    template <typename Real>
    void set(const char* name, Real* values, size_t n) const {
        const auto& given = numbers(name);
        if (given.empty() || n % given.size() != 0)
            fail(EXIT_BAD_INPUTS,
                 std::string("the inputs file has no fitting numbers ") + name);
        for (size_t i = 0; i < n; i++)
            values[i] = i < given.size() ? static_cast<Real>(given[i])
                                         : values[i - given.size()];
    }

    // Weights whose source has channels with thresholds of their own: a spike of a
    // channel stands for its threshold over the largest one.
    template <typename Real>
    void scale_weights(const char* name, Real* weights, size_t n, size_t block,
                       size_t channels) {
        const auto& worth = numbers(name);
        restore(weights, n, !worth.empty());
        if (worth.empty()) return;
        for (size_t first = 0; first < n; first += block) {
            const Real by = static_cast<Real>(worth[first / block % channels]);
            for (size_t k = first; k < std::min(n, first + block); k++) weights[k] *= by;
        }
    }
    template <typename Weights, typename Sources>
    void scale_synapses(const char* name, Weights& weights, const Sources& sources,
                        size_t channels) {
        const auto& worth = numbers(name);
        restore(weights.data(), weights.size(), !worth.empty());
        if (worth.empty()) return;
        for (size_t k = 0; k < weights.size(); k++)
            weights[k] *= worth[static_cast<size_t>(sources[k]) % channels];
    }

    // Let an array be as it was before the first run that changes it; once a run.
    template <typename T>
    void restore(T* values, size_t n, bool is_changed = true) {
        static std::map<T*, std::vector<T>> before;
        if (restored_.count(values)) return;
        const auto found = before.find(values);
        if (found != before.end())
            std::copy(found->second.begin(), found->second.end(), values);
        else if (is_changed)
            before.emplace(values, std::vector<T>(values, values + n));
        else
            return;
        restored_.insert(values);
    }

protected:
    std::map<std::string, std::vector<double>> settings_;
    std::set<void*> restored_;
};

}  // namespace cnn2snn
