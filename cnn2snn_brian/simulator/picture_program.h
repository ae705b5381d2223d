// The part of a compiled network that Brian2 does not have: one run shows many pictures.
// It reads parameters and pictures from a file, starts each picture from scratch, counts
// and records spikes, and writes the results picture by picture. A program does one run
// after another: what a run changes, the next one sets or restores.
//
// protocol.py writes the inputs and reads the results; both follow the order in here.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "aligned.h"
#include "displaced.h"
#include "image_current.h"
#include "input_file.h"
#include "population.h"
#include "random_numbers.h"
#include "run_settings.h"
#include "shown.h"

namespace cnn2snn {

class PictureProgram : public RunSettings, private InputFile {
    friend class Learning;

public:
    explicit PictureProgram(const std::string& directory)
        : InputFile(directory + "inputs"), directory_(directory) {
        char magic[8];
        read(magic, 8);
        if (std::memcmp(magic, "PICTUR10", 8) != 0)
            fail(EXIT_BAD_INPUTS, "the inputs file is of another version");
        n_pictures_ = read_one<int64_t>();
        count_bytes_ = read_one<int64_t>();
        const int64_t n_settings = read_one<int64_t>();
        for (int64_t k = 0; k < n_settings; k++) {
            std::vector<char> name;
            read_array(name);
            read_array(settings_[std::string(name.begin(), name.end())]);
        }
        rate_scale_ = number("rate_scale");
    }

    // A Poisson source: pixel values times c/dt become its rates.
    void add_poisson(const std::string& name, int32_t* spikespace, size_t n,
                     double* rates, double dt) {
        n_values_ = n;
        shows_.push_back([this, n, rates, dt](const float* values) {
            for (size_t i = 0; i < n; i++)
                rates[i] = values == nullptr ? 0 : rate_scale_ * values[i] / dt;
        });
        displace_ = [this, n, rates, dt]() {
            displaced_ = displaced(shown_, n, rates, dt, jitter_,
                                   [this](int32_t frame) { show(frame); });
        };
        add(name, spikespace, n, []() {}, [](int32_t) {});
    }

    // Integrate-and-fire neurons, whose threshold has been set.
    template <typename Real>
    void add_neurons(const std::string& name, int32_t* spikespace, size_t n, Real* v,
                     const Real* v_th, size_t n_thresholds) {
        std::vector<Real> start(n);
        const auto& shares = numbers(name + ".v_init");
        if (shares.empty()) fail(EXIT_BAD_INPUTS, "no starting potential of " + name);
        for (size_t i = 0, share = 0, threshold = 0; i < n; i++) {
            start[i] = static_cast<Real>(shares[share] * v_th[threshold]);
            if (++share == shares.size()) share = 0;
            if (++threshold == n_thresholds) threshold = 0;
        }
        output_ = populations_.size();
        add(
            name, spikespace, n,
            [v, start]() { std::copy(start.begin(), start.end(), v); },
            [v](int32_t i) { v[i] = 0; });
        name_variable(name + ".v", v);
        potential_ = [v, n](std::ofstream& file) {
            for (size_t i = 0; i < n; i++) {
                const double value = v[i];
                file.write(reinterpret_cast<const char*>(&value), sizeof(value));
            }
        };
    }

    // Neurons of the population added last that send several spikes at once. With
    // corrections, sizes may be below 0.
    template <typename Real>
    void add_sizes(const Real* sizes, bool with_corrections) {
        const size_t n_sizes = populations_.back().n;
        populations_.back().look_up = [sizes, n_sizes](int32_t* found) {
            Population::rounded(sizes, n_sizes, found);
        };
        const size_t n = with_corrections ? 3 : 2;
        if (n > n_counts_) n_counts_ = n;
    }

    // A group that a user added, which spikes every so many steps at most.
    void add_group(const std::string& name, int32_t* spikespace, size_t n,
                   int32_t every) {
        add(name, spikespace, n, []() {}, [](int32_t) {});
        populations_.back().every = every;
    }

    // A state variable, which starts each picture as it was when the network was loaded,
    // or with the numbers of the run.
    template <typename T>
    void add_state(const std::string& name, T* values, size_t n) {
        restore(values, n);
        if (!numbers(name).empty()) set(name.c_str(), values, n);
        name_variable(name, values);
        const std::vector<T> before(values, values + n);
        add_start([values, before]() {
            std::copy(before.begin(), before.end(), values);
        });
    }
    template <typename T>
    void add_state(const std::string& name, std::vector<T>& values) {
        if (!values.empty()) add_state(name, values.data(), values.size());
    }

    // Delayed spikes: in each row their number and their indices.
    void add_ring(int32_t* ring, size_t row, size_t n_rows, int32_t* slot) {
        add_start([ring, row, n_rows, slot]() {
            for (size_t k = 0; k < n_rows; k++) ring[k * row] = 0;
            *slot = 0;
        });
    }

    // Something else to do at a picture's start.
    void add_start(std::function<void()> start) { starts_.push_back(std::move(start)); }

    // A picture as the constant input of a layer that reads it: each pixel times its
    // weights, by the runs of target_runs.py, and the biases. A layer may read it more
    // than once; biases come with the first time.
    template <typename Real>
    void add_current(size_t n_pixels, Real* current, const ImageCurrent<Real>& image) {
        const size_t begin = n_values_;
        n_values_ += n_pixels;
        shows_.push_back([&image, begin, current](const float* values) {
            image.show(values + begin, current);
        });
    }

    // Called once all populations are known.
    void open() {
        n_neurons_ = 0;
        for (auto& population : populations_) {
            population.first = n_neurons_;
            n_neurons_ += population.n;
        }
        traces_.resize(static_cast<size_t>(read_one<int64_t>()));
        for (auto& trace : traces_) {
            std::vector<char> name;
            read_array(name);
            read_array(trace.neurons);
            const auto found = variables_.find(std::string(name.begin(), name.end()));
            if (found == variables_.end())
                fail(EXIT_BAD_INPUTS, "the inputs file names an unknown variable");
            trace.value = found->second;
        }
        for (auto& population : populations_) {
            for (const double neuron : numbers(population.name + ".lesion"))
                population.lesioned.push_back(static_cast<int32_t>(neuron));
            if (population.lesioned.empty()) continue;
            population.is_lesioned.resize(population.n);
            for (const int32_t i : population.lesioned) population.is_lesioned[i] = 1;
            has_lesions_ = true;
        }
        deletion_ = number("input_deletion");
        jitter_ = number("input_jitter");
        windows_ = numbers("record_windows");
        trace_every_ = static_cast<int32_t>(number("record_interval"));
        counts_.resize(n_counts_ * n_neurons_ * count_bytes_);
        record_.resize(populations_.size());
        counts_file_.open(directory_ + "counts", std::ios::binary);
        potentials_file_.open(directory_ + "potentials", std::ios::binary);
        spikes_file_.open(directory_ + "spikes", std::ios::binary);
        traces_file_.open(directory_ + "traces", std::ios::binary);
        if (!counts_file_ || !potentials_file_ || !spikes_file_ || !traces_file_)
            fail(EXIT_WRITE_FAILED, "can't write results to " + directory_);
    }

    // Start the next picture; false after the last one. `seed` seeds Brian2's generator.
    template <typename Seed>
    bool next(Seed seed) {
        if (picture_ == n_pictures_) return false;
        const uint64_t picture_seed = read_one<uint64_t>();
        is_traced_ = read_one<char>() != 0;
        read(reinterpret_cast<char*>(record_.data()), record_.size());
        // The repeats of a stimulus follow each other, and it comes once.
        if (read_one<char>() != 0) shown_.read(*this, n_values_);
        random().seed(picture_seed);
        network_random().seed(picture_seed ^ 0x6a09e667f3bcc908u);
        noise_random().seed(picture_seed ^ 0xbb67ae8584caa73bu);
        input_noise_random().seed(picture_seed ^ 0x3c6ef372fe94f82bu);
        seed(picture_seed);  // of Brian2's own generator
        shown_.start();
        if (jitter_ > 0) displace_();
        frame_ = shown_.frame(0);
        show(frame_);
        std::memset(counts_.data(), 0, counts_.size());
        for (size_t p = 0; p < populations_.size(); p++) {
            auto& population = populations_[p];
            population.recorded = record_[p];
            population.sent.clear();
            population.taken.clear();
            population.spikespace[population.n] = 0;  // feedback reads the step before
            population.start();
        }
        for (auto& trace : traces_) trace.kept.clear();
        for (const auto& start : starts_) start();
        step_ = 0;
        return true;
    }

    // Number of steps of the trial that was started.
    int32_t n_steps() const { return shown_.n_steps; }

    // Behind the threshold of a population (of all, if it is below 0): what happens to
    // input spikes, and lesions.
    void after_thresholds(int population) {
        if (population > 0) {
            if (has_lesions_) silence(populations_[static_cast<size_t>(population)]);
            return;
        }
        Population& input = populations_[0];
        if (shown_.are_spikes() && jitter_ == 0)
            input.spikespace[input.n] = shown_.spikes(step_, input.spikespace);
        if (jitter_ > 0) {
            int32_t n_spikes = 0;
            const char* now = displaced_.data() + static_cast<size_t>(step_) * input.n;
            for (size_t i = 0; i < input.n; i++)
                if (now[i]) input.spikespace[n_spikes++] = static_cast<int32_t>(i);
            input.spikespace[input.n] = n_spikes;
        }
        if (deletion_ > 0)
            populations_[0].filter(
                [this](int32_t) { return input_noise_random().uniform() >= deletion_; });
        if (!has_lesions_) return;
        if (population < 0) silence();
        else silence(populations_[0]);
    }

    // After each step: count the spikes, and keep the spikes and potentials that are
    // recorded.
    void after_step() {
        // Synapses have moved lesioned neurons since the thresholds.
        if (has_lesions_ && is_traced_) silence();
        const bool in_window = is_in_window();
        if (count_bytes_ == 1) count_spikes<uint8_t>(in_window);
        else if (count_bytes_ == 2) count_spikes<uint16_t>(in_window);
        else count_spikes<uint32_t>(in_window);
        if (is_traced_ && in_window && step_ % trace_every_ == 0)
            for (auto& trace : traces_)
                for (const int32_t i : trace.neurons)
                    trace.kept.push_back(static_cast<float>(trace.value(i)));
        step_++;
        if (step_ == shown_.n_steps) return;
        const int32_t next = shown_.frame(step_);
        if (next == frame_) return;
        frame_ = next;
        show(frame_);
    }

    // Write the results of a picture, and say on standard output that it is done: a dot,
    // or a zero for the last one.
    void finish(bool interrupted) {
        if (interrupted) fail(EXIT_INTERRUPTED, "interrupted");
        write(counts_file_, counts_.data(), counts_.size());
        if (has_lesions_) silence();
        if (potential_) potential_(potentials_file_);
        for (size_t p = 0; p < populations_.size(); p++) {
            const auto& population = populations_[p];
            if (!population.recorded) continue;
            population.sent.write(spikes_file_, picture_, p);
            if (n_counts_ == 3)
                population.taken.write(spikes_file_, picture_, populations_.size() + p);
        }
        for (size_t k = 0; is_traced_ && k < traces_.size(); k++) {
            const auto& trace = traces_[k];
            const size_t n_traced = trace.neurons.size();
            const int64_t head[4] = {picture_, static_cast<int64_t>(k),
                                     static_cast<int64_t>(trace.kept.size() / n_traced),
                                     static_cast<int64_t>(n_traced)};
            write(traces_file_, head, 4);
            write(traces_file_, trace.kept.data(), trace.kept.size());
        }
        picture_++;
        if (picture_ == n_pictures_) {
            counts_file_.flush();
            potentials_file_.flush();
            spikes_file_.flush();
            traces_file_.flush();
        }
        if (!counts_file_ || !potentials_file_ || !spikes_file_ || !traces_file_)
            fail(EXIT_WRITE_FAILED, "can't write results to " + directory_);
        // A parent that has ended closes the pipe; SIGPIPE then ends this program too.
        // Each word wakes the parent up, so there are not too many.
        std::cout << (picture_ == n_pictures_ ? '\0' : '.');
        const auto now = std::chrono::steady_clock::now();
        if (picture_ < n_pictures_ && now - said_ < std::chrono::milliseconds(20)) return;
        std::cout << std::flush;
        said_ = now;
    }

private:
    std::string directory_;
    std::ofstream counts_file_, potentials_file_, spikes_file_, traces_file_;
    int64_t n_pictures_ = 0, count_bytes_ = 4, picture_ = 0;
    double rate_scale_ = 1;
    std::chrono::steady_clock::time_point said_;  // when it last said something
    int32_t step_ = 0, frame_ = 0;
    bool is_traced_ = false;
    size_t n_neurons_ = 0, n_values_ = 0;
    size_t n_counts_ = 1;  // of each neuron: spikes, events, corrections
    std::vector<Population> populations_;
    size_t output_ = SIZE_MAX;  // index of the last layer
    std::map<std::string, std::function<double(int32_t)>> variables_;
    std::vector<Trace> traces_;
    int32_t trace_every_ = 1;
    std::vector<char> counts_;  // numbers of count_bytes_ each
    Shown shown_;
    std::vector<double> windows_;  // first step, and step behind the last one, by turns
    std::vector<char> record_;
    std::vector<std::function<void(const float*)>> shows_;
    std::function<void()> displace_;
    std::vector<std::function<void()>> starts_;
    bool has_lesions_ = false;
    double deletion_ = 0, jitter_ = 0;  // a probability, and a number of steps
    std::vector<char> displaced_;  // whether an input neuron spikes, step by step
    std::function<void(std::ofstream&)> potential_;  // of the last population

    void add(const std::string& name, int32_t* spikespace, size_t n,
             std::function<void()> start, std::function<void(int32_t)> hold) {
        populations_.push_back({name, spikespace, n, 0, false, {}, {}, {}, {},
                                std::move(start), 1, std::move(hold), {}, {}});
    }

    // Whose values can be recorded.
    template <typename T>
    void name_variable(const std::string& name, const T* values) {
        variables_[name] = [values](int32_t i) { return static_cast<double>(values[i]); };
    }

    void show(int32_t frame) {
        const float* values = shown_.values(frame, n_values_);
        for (const auto& show_to : shows_) show_to(values);
    }

    void silence() {
        for (auto& population : populations_) silence(population);
    }
    void silence(Population& population) {
        if (population.lesioned.empty()) return;
        const auto& is_lesioned = population.is_lesioned;
        population.filter([&](int32_t i) { return !is_lesioned[i]; });
        for (const int32_t i : population.lesioned) population.hold(i);
    }

    bool is_in_window() const {
        if (windows_.empty()) return true;
        for (size_t k = 0; k < windows_.size(); k += 2)
            if (windows_[k] <= step_ && step_ < windows_[k + 1]) return true;
        return false;
    }

    template <typename Count>
    void count_spikes(bool in_window) {
        Count* counts = reinterpret_cast<Count*>(counts_.data());
        for (auto& population : populations_) {
            if (step_ % population.every != 0) continue;
            const bool is_last = &population == &populations_[output_];
            // Decisions over time need all spikes of the last layer.
            const bool is_kept = population.recorded && (in_window || is_last);
            population.count(counts, n_neurons_, n_counts_, is_kept, step_);
        }
    }

    // The spikes of one of all neurons so far.
    uint32_t count_of(size_t neuron) const {
        const char* counts = counts_.data();
        if (count_bytes_ == 1) return reinterpret_cast<const uint8_t*>(counts)[neuron];
        if (count_bytes_ == 2) return reinterpret_cast<const uint16_t*>(counts)[neuron];
        return reinterpret_cast<const uint32_t*>(counts)[neuron];
    }
};

}  // namespace cnn2snn
