// xst: pack, check, run and watch models from the command line.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "apps/xst/commands.h"

namespace {

// The command the user was in when the line stopped making sense.
std::string CommandName(const CLI::App& app) {
  std::string name = app.get_name();
  for (const CLI::App* sub : app.get_subcommands()) name += " " + sub->get_name();
  return name;
}

int Fail(int code, const std::string& message) {
  std::fprintf(stderr, "xst: error: %s\n", message.c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"xLSTM models on live streams: pack, check, run and watch.", "xst"};
  app.set_version_flag("--version", XST_VERSION);
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();

  using namespace xst::cli;
  AddPack(&app);
  AddUnpack(&app);
  AddInspect(&app);
  AddVerify(&app);
  AddRun(&app);
  AddBench(&app);
  AddForecast(&app);
  AddGenerate(&app);
  AddKeygen(&app);
  AddReplay(&app);
  AddStatus(&app);
  AddWatch(&app);

  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    const std::string command = CommandName(app);
    return Fail(2, "command line: expected the arguments of '" + command +
                       " --help', got: " + error.what());
  } catch (const UsageError& error) {
    return Fail(2, error.what());
  } catch (const std::bad_alloc&) {
    return Fail(1, "memory: expected enough for this model and input, got less");
  } catch (const std::exception& error) {
    return Fail(1, error.what());
  }
}
