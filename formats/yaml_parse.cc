// ParseYaml on yaml-cpp. Alone in its file: a program may link another (the Python package does).
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

#include "formats/yaml_tree.h"

namespace xst::formats {
namespace {

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& name) : tree_(name) {}

  YamlNode Finish() { return tree_.Finish(); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    tree_.Add(Node(YamlNode::Kind::null, mark, "?", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    tree_.RefuseAlias(mark.line + 1, mark.column + 1);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = Node(YamlNode::Kind::scalar, mark, tag, anchor);
    node.quoted = tag == "!";
    node.text = value;
    tree_.Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    tree_.Open(Node(YamlNode::Kind::sequence, mark, tag, anchor));
  }
  void OnSequenceEnd() override { tree_.Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    tree_.Open(Node(YamlNode::Kind::map, mark, tag, anchor));
  }
  void OnMapEnd() override { tree_.Close(); }

 private:
  YamlNode Node(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor) {
    // yaml-cpp's own: "?" of a plain node, "!" of a quoted scalar.
    const bool own = tag == "?" || (tag == "!" && kind == YamlNode::Kind::scalar);
    return tree_.Node(kind, mark.line + 1, mark.column + 1, anchor != 0, own ? "" : tag);
  }

  YamlTree tree_;
};

}  // namespace

YamlNode ParseYaml(std::string_view text, const std::string& name) {
  YamlTree::CheckText(text, name);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    TreeBuilder tree(name);
    parser.HandleNextDocument(tree);
    YamlNode root = tree.Finish();
    TreeBuilder second(name);
    if (parser.HandleNextDocument(second)) {
      FailAt(name, second.Finish(), "expected one document, got another");
    }
    return root;
  } catch (const YAML::Exception& e) {
    FailParse(name, e.mark.line + 1, e.mark.column + 1, e.msg);
  }
}

}  // namespace xst::formats
