// Finds the CUDA backend, libxst_cuda.so: beside this library or program, in ../lib from there, or
// where the dynamic linker looks.
#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "sdk/device_backend.h"

namespace xst {
namespace {

constexpr char kLibrary[] = "libxst_cuda.so.0";

struct Backend {
  OpenDeviceFunction* open = nullptr;
  std::string why;  // there is none
};

std::string OwnFolder() {
  Dl_info self;
  if (!dladdr(reinterpret_cast<const void*>(&OpenCudaModel), &self) || !self.dli_fname) return "";
  std::string file = self.dli_fname;
  if (file.find('/') == std::string::npos) {  // a program found through PATH
    std::error_code ignored;
    file = std::filesystem::read_symlink("/proc/self/exe", ignored);
  }
  return file.substr(0, file.rfind('/') + 1);
}

Backend Load() {
  Backend backend;
  const std::string folder = OwnFolder();
  // The first message is of a library that is there but cannot be loaded, if one is.
  for (const std::string& path :
       {folder + kLibrary, folder + "../lib/" + kLibrary, std::string(kLibrary)}) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      backend.open = reinterpret_cast<OpenDeviceFunction*>(dlsym(library, "xst_open_device"));
      if (!backend.open) backend.why = path + ": no symbol xst_open_device";
      return backend;
    }
    const std::string error = dlerror();
    const bool absent = error.starts_with(path + ": cannot open shared object file");
    if (backend.why.empty() || !absent) backend.why = error;
    if (!absent) return backend;
  }
  return backend;
}

}  // namespace

Status OpenCudaModel(const DeviceRequest& request, std::unique_ptr<DeviceModel>* out,
                     Fault* fault) {
  static const Backend backend = Load();
  if (!backend.open) {
    return fault->Set(
        Status::no_device,
        "device: expected one this build has (cpu, reference), got 'cuda:%u' (no CUDA backend: %s)",
        request.index, backend.why.c_str());
  }
  return backend.open(kBackendVersion, request, out, fault);
}

}  // namespace xst
