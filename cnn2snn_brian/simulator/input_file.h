// The file that a program reads its inputs from, in one go from start to end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "population.h"

namespace cnn2snn {

class InputFile {
public:
    explicit InputFile(const std::string& path) : file_(path, std::ios::binary) {}

    void read(char* data, size_t n) {
        file_.read(data, static_cast<std::streamsize>(n));
        if (!file_) fail(EXIT_BAD_INPUTS, "the inputs file ends too early");
    }

    template <typename T>
    T read_one() {
        T value;
        read(reinterpret_cast<char*>(&value), sizeof(T));
        return value;
    }

    // An array behind its number of items.
    template <typename T>
    void read_array(std::vector<T>& array) {
        array.resize(static_cast<size_t>(read_one<int64_t>()));
        read(reinterpret_cast<char*>(array.data()), array.size() * sizeof(T));
    }

    template <typename T>
    void read_array(T* array, size_t n) {
        if (static_cast<size_t>(read_one<int64_t>()) != n)
            fail(EXIT_BAD_INPUTS, "the inputs file has an array of another size");
        read(reinterpret_cast<char*>(array), n * sizeof(T));
    }

private:
    std::ifstream file_;
};

}  // namespace cnn2snn
