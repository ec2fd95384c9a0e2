// ParseYaml on PyYAML's events, in the place of yaml-cpp's: the wheel needs no library of the
// system.
#include "bindings.h"
#include "formats/yaml_tree.h"

namespace xst::formats {
namespace {

using python::nb::handle;
namespace nb = python::nb;

int LineOf(handle mark) { return nb::cast<int>(mark.attr("line")) + 1; }
int ColumnOf(handle mark) { return nb::cast<int>(mark.attr("column")) + 1; }

// Takes the events of a document up to its end; false: there is none.
class Reader {
 public:
  Reader(handle events, const std::string& name) : events_(events), tree_(name) {}

  bool ReadDocument() {
    for (;;) {
      const nb::object event = nb::steal(PyIter_Next(events_.ptr()));
      if (!event.is_valid()) {
        if (PyErr_Occurred()) nb::raise_python_error();
        return false;
      }
      const std::string kind = nb::cast<std::string>(event.type().attr("__name__"));
      if (kind == "DocumentEndEvent") return true;
      Take(kind, event);
    }
  }

  YamlNode Finish() { return tree_.Finish(); }

 private:
  void Take(const std::string& kind, handle event) {
    const handle mark = event.attr("start_mark");
    if (kind == "AliasEvent") tree_.RefuseAlias(LineOf(mark), ColumnOf(mark));
    if (kind == "SequenceStartEvent") {
      tree_.Open(Node(YamlNode::Kind::sequence, event));
    } else if (kind == "MappingStartEvent") {
      tree_.Open(Node(YamlNode::Kind::map, event));
    } else if (kind == "SequenceEndEvent" || kind == "MappingEndEvent") {
      tree_.Close();
    } else if (kind == "ScalarEvent") {
      YamlNode node = Node(YamlNode::Kind::scalar, event);
      node.text = nb::cast<std::string>(event.attr("value"));
      node.quoted = !event.attr("style").is_none();
      const bool null = node.text.empty() || node.text == "~" || node.text == "null" ||
                        node.text == "Null" || node.text == "NULL";
      if (null && !node.quoted) {
        node.kind = YamlNode::Kind::null;
        node.text.clear();
      }
      tree_.Add(std::move(node));
    }
  }

  YamlNode Node(YamlNode::Kind kind, handle event) const {
    const nb::object mark = event.attr("start_mark"), tag = event.attr("tag");
    return tree_.Node(kind, LineOf(mark), ColumnOf(mark), !event.attr("anchor").is_none(),
                      tag.is_none() ? "" : nb::cast<std::string>(tag));
  }

  handle events_;
  YamlTree tree_;
};

YamlNode Read(std::string_view text, const std::string& name) {
  const nb::object yaml = nb::module_::import_("yaml");
  const nb::object events =
      nb::borrow(yaml.attr("parse")(nb::str(text.data(), text.size()), yaml.attr("SafeLoader")));
  Reader first(events, name), second(events, name);
  if (!first.ReadDocument()) return {};
  YamlNode root = first.Finish();
  if (second.ReadDocument()) FailAt(name, second.Finish(), "expected one document, got another");
  return root;
}

}  // namespace

YamlNode ParseYaml(std::string_view text, const std::string& name) {
  YamlTree::CheckText(text, name);
  const nb::gil_scoped_acquire held;  // packing has let go of it
  try {
    return Read(text, name);
  } catch (nb::python_error& error) {
    const nb::object yaml_error = nb::module_::import_("yaml").attr("YAMLError");
    if (!error.matches(yaml_error)) throw;
    int line = 1, column = 1;
    std::string what = "other text";
    const nb::object value = nb::borrow(error.value());
    if (nb::hasattr(value, "problem_mark") && !value.attr("problem_mark").is_none()) {
      const nb::object mark = value.attr("problem_mark");
      line = LineOf(mark);
      column = ColumnOf(mark);
      what = nb::cast<std::string>(nb::str(value.attr("problem")));
    } else {
      what = nb::cast<std::string>(nb::str(value));
    }
    FailParse(name, line, column, what);
  }
}

}  // namespace xst::formats
