// What Brian2's loop and its generated code call in each step.
#pragma once

#include "picture_program.h"

namespace cnn2snn {

// They are plain functions, so the program they act on is global.
inline PictureProgram*& current_program() {
    static PictureProgram* program = nullptr;
    return program;
}

inline void after_step() { current_program()->after_step(); }
void after_thresholds(int population) { current_program()->after_thresholds(population); }

}  // namespace cnn2snn
