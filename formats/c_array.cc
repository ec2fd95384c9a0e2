#include "formats/c_array.h"

#include <charconv>
#include <filesystem>

#include "formats/model_file.h"
#include "formats/output_file.h"

namespace xst::formats {
namespace {

constexpr size_t kPerLine = 24, kBuffer = size_t{1} << 16;

// `text` in a comment: nothing in it ends that.
std::string Commented(std::string text) {
  for (size_t at = 0; (at = text.find("*/", at)) != std::string::npos;) text.replace(at, 2, "* ");
  return text;
}

}  // namespace

std::string CIdentifier(const std::string& path) {
  std::string name = std::filesystem::path(path).stem().string();
  for (char& c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter) c = '_';
  }
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) name.insert(0, "model_");
  return name + "_xst";
}

void WriteCArray(std::span<const std::byte> bytes, const std::string& about,
                 const std::string& path) {
  const std::string name = CIdentifier(path), size = std::to_string(bytes.size());
  const std::string array = "const unsigned char " + name + "[" + size + "]";
  const std::string length = "const size_t " + name + "_len";
  std::string text = "/* " + Commented(about) + "\n *\n * Elsewhere:\n *   extern " + array +
                     ";\n *   extern " + length +
                     ";\n * for xst_model_open_memory, in place. */\n#include <stdalign.h>\n"
                     "#include <stddef.h>\n\n"
                     "#ifdef __cplusplus\nextern \"C\" {\n#endif\nextern " +
                     array + ";\nextern " + length + ";\n#ifdef __cplusplus\n}\n#endif\n\n" +
                     length + " = " + size + ";\nalignas(" + std::to_string(kSegmentAlign) + ") " +
                     array + " = {";
  OutputFile file(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i % kPerLine == 0) text += "\n  ";
    char digits[4];
    text.append(digits, std::to_chars(digits, digits + 4, std::to_integer<unsigned>(bytes[i])).ptr);
    text += ',';
    if (text.size() < kBuffer) continue;
    file.Write(text.data(), text.size());
    text.clear();
  }
  text += "\n};\n";
  file.Write(text.data(), text.size());
  file.Commit();
}

}  // namespace xst::formats
