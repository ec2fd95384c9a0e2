#include "sdk/device.h"

#include <charconv>

namespace xst {
namespace {

bool ParseNumber(const std::string& text, size_t from, uint32_t* out) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + from, end, *out);
  return error == std::errc() && stop == end && from < text.size();
}

}  // namespace

Status Device::Parse(const std::string& text, Device* out, Fault* fault) {
  Device d;
  if (text == "reference") {
    d.kind = Kind::reference;
  } else if (text.starts_with("cpu:") && ParseNumber(text, 4, &d.threads) && d.threads >= 1) {
    d.kind = Kind::cpu;
  } else if (text.starts_with("cuda:") && ParseNumber(text, 5, &d.index)) {
    d.kind = Kind::cuda;
  } else if (text != "cpu") {
    return fault->Set(Status::invalid_argument,
                      "device: expected cpu, cpu:N, cuda:K or reference, got '%s'", text.c_str());
  }
  *out = d;
  return Status::ok;
}

std::string Device::ToString() const {
  switch (kind) {
    case Kind::reference:
      return "reference";
    case Kind::cuda:
      return "cuda:" + std::to_string(index);
    case Kind::cpu:
      break;
  }
  return threads == 1 ? "cpu" : "cpu:" + std::to_string(threads);
}

}  // namespace xst
