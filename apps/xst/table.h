// Sequences of `xst run`: [T][B] steps of a model's input or output, from and to .npy and CSV.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "sdk/model.h"

namespace xst::cli {

enum class TableFormat { npy, csv };

// The format of a path: by extension, or `stdio_format` for "-". Throws UsageError for another
// extension; `option` names the culprit.
TableFormat FormatOf(const std::string& path, const std::string& option, TableFormat stdio_format);

// The number of floats of a shape, for memory. Throws Error where addresses do not reach: `what`
// wants them.
size_t CountFloats(const char* what, std::initializer_list<uint64_t> shape);

// A shape or an index for messages: "[3, 4]".
std::string Bracketed(const std::vector<uint64_t>& numbers);

// T steps of B columns, [T][B][width] values, or [T][B] ids for a token model.
struct Sequence {
  uint64_t steps = 0, columns = 1;
  std::vector<uint64_t> leading;  // [T] or [T][B], as the output repeats it
  std::vector<float> values;
  std::vector<int64_t> tokens;
};

// Reads what `info`'s model takes. Throws Error naming file, what was expected and what was found:
// the element type, the shape, CSV columns, tokens outside the vocabulary, and, for a model without
// wrapper, the index of a value that is not finite.
//
// CSV columns of a wrapped model are found by input name when all are there, and then further
// columns are left out; otherwise, and for other models, there must be as many columns as values.
Sequence ReadSequence(const std::string& path, TableFormat format, const ModelInfo& info);

// Writes [leading..., width] values. CSV takes [T][width] only, and a header of output names, or
// y0, y1, … where the model has none. Throws Error.
void WriteSequence(const std::string& path, TableFormat format, const ModelInfo& info,
                   const std::vector<uint64_t>& leading, const std::vector<float>& values);

}  // namespace xst::cli
