#include "cli/messages.h"

#include <cstdlib>
#include <cstring>

namespace moebox::cli {
namespace {

constexpr Messages english = {
    .overview = R"(moebox {}: run and serve language models on your own hardware

  moebox run MODEL [PROMPT]     chat with a model, or ask it one question
  moebox serve MODEL...         an OpenAI-compatible server on 127.0.0.1:8080
  moebox pull MODEL             fetch a model
  moebox list                   models that are here; --all: the catalogue too
  moebox rm MODEL               remove a model
  moebox show MODEL             metadata, tensors, sizes, licence, memory
  moebox convert IN OUT         a folder or GGUF file as GGUF: --type Q4_K_M
  moebox pack MODEL             its packed weights in a file: a faster start
  moebox bench MODEL...         speed, beside the limits of this machine
  moebox optimize MODEL         what bounds it here, and its best settings
  moebox tokenize MODEL TEXT    text to token ids, and back
  moebox perplexity MODEL FILE  how well a model predicts a text
  moebox logits MODEL --ids ... the logits of given tokens as a NumPy file
  moebox data, tokenizer, train, verify, report   shards; a model; how it went
  moebox config                 every setting, its value, and why
  moebox completion SHELL       completion for bash, zsh or fish
  moebox version                version and instruction sets

MODEL is a name of 'list --all', a .gguf file, a folder, or hf:owner/repo/FILE.
  moebox run smollm2-135m-instruct "Why is the sky blue?"

'moebox VERB --help' tells more of each.
)",
    .error = "moebox: error: {}\n",
    .hint = "  hint: {}\n",
    .interrupted = "interrupted",
    .chat_welcome = "{} is ready. /help lists the commands, Ctrl-D leaves.\n",
    .chat_help = R"(/system TEXT       set the system prompt ("/system" shows it, "/system none" removes it)
/clear             forget the conversation, keep the system prompt
/save FILE         write the conversation to a file
/load FILE         go on with a saved conversation
/set NAME VALUE    change a setting, such as: /set temperature 0.2
/show              settings, and how full the context is
/help              this list
/bye               leave (also Ctrl-D)

A line that ends with \ goes on in the next one; so does everything between """ and """,
where a message may also begin with a /.
Ctrl-C stops an answer. Arrow up brings back what was typed before.
)",
    .leave_hint = "Once more Ctrl-C, or Ctrl-D, leaves.\n",
    .stopped = "[stopped]\n",
    .cleared = "The conversation is forgotten.\n",
    .system_set = "The system prompt is set.\n",
    .system_removed = "There is no system prompt now.\n",
    .system_none = "There is no system prompt.\n",
    .saved = "{} messages written to {}\n",
    .loaded = "{} messages read from {}\n",
    .value_set = "{} = {}\n",
    .dropped = "[the context was full: the oldest {} messages are forgotten]\n",
    .does_not_fit = "this message takes {} tokens with its frame; the context has {}, and the answer needs room, too",
    .context_full = "[the context of {} tokens is full: the answer ends here]\n",
    .length_reached = "[the answer reached its limit of {} tokens]\n",
    .unknown_command = "there is no command '{}'",
    .did_you_mean = "did you mean '{}'?",
    .figures = "{} tokens · prefill {} at {} tokens/s · decode {} tokens/s{} · first token {} ms · memory {}\n",
    .drafts = " ({} of {} drafts right)",
};

constexpr Messages chinese = {
    .overview = R"(moebox {}：在自己的硬件上运行和部署语言模型

  moebox run MODEL [PROMPT]     与模型对话，或只问一个问题
  moebox serve MODEL...         兼容 OpenAI 的服务器，地址 http://127.0.0.1:8080
  moebox pull MODEL             下载模型
  moebox list                   本机已有的模型（--all：也列出可下载的模型）
  moebox rm MODEL               删除模型
  moebox show MODEL             元数据、张量、大小、模板、许可证、内存
  moebox convert IN OUT         转换为其他类型的 GGUF：--type Q4_K_M
  moebox pack MODEL             把打包好的权重存为文件：启动更快
  moebox bench MODEL...         速度，以及本机的极限
  moebox optimize MODEL         找出瓶颈与最佳设置，供 run 和 serve 使用
  moebox tokenize MODEL TEXT    文本与词元编号互相转换
  moebox perplexity MODEL FILE  模型对文本的困惑度
  moebox logits MODEL --ids ... 给定词元的 logits，存为 NumPy 文件
  moebox data, tokenizer, train, verify, report   数据、分词器、训练、核对、报告
  moebox config                 所有设置、取值及其来源
  moebox completion SHELL       bash、zsh 或 fish 的命令补全
  moebox version                版本与指令集

MODEL：'list --all' 中的名称、.gguf 文件、目录，或 hf:owner/repo/FILE。
  moebox run qwen2.5-coder-0.5b-instruct "天空为什么是蓝色的？"

'moebox VERB --help' 给出每个命令的说明。
)",
    .error = "moebox: 错误：{}\n",
    .hint = "  提示：{}\n",
    .interrupted = "已中断",
    .chat_welcome = "{} 已就绪。输入 /help 查看命令，Ctrl-D 退出。\n",
    .chat_help = R"(/system 文本       设置系统提示（"/system" 显示，"/system none" 删除）
/clear             清除对话，保留系统提示
/save 文件         保存对话
/load 文件         继续已保存的对话
/set 名称 值       修改设置，例如：/set temperature 0.2
/show              显示设置和上下文的使用情况
/help              显示本列表
/bye               退出（也可用 Ctrl-D）

以 \ 结尾的行会续到下一行；""" 与 """ 之间的内容也可以分成多行，也可以以 / 开头。
Ctrl-C 停止回答。上箭头找回以前的输入。
)",
    .leave_hint = "再按一次 Ctrl-C 或按 Ctrl-D 退出。\n",
    .stopped = "[已停止]\n",
    .cleared = "对话已清除。\n",
    .system_set = "系统提示已设置。\n",
    .system_removed = "系统提示已删除。\n",
    .system_none = "没有系统提示。\n",
    .saved = "已将 {} 条消息写入 {}\n",
    .loaded = "已从 {1} 读取 {0} 条消息\n",
    .value_set = "{} = {}\n",
    .dropped = "[上下文已满：最早的 {} 条消息已被遗忘]\n",
    .does_not_fit = "这条消息连同格式共 {} 个词元；上下文只有 {} 个，还要留出回答的空间",
    .context_full = "[{} 个词元的上下文已满：回答到此为止]\n",
    .length_reached = "[回答达到了 {} 个词元的上限]\n",
    .unknown_command = "没有命令 '{}'",
    .did_you_mean = "是不是 '{}'？",
    .figures = "{} 个词元 · 预填充 {} 个，{} 词元/秒 · 解码 {} 词元/秒{} · 首个词元 {} 毫秒 · 内存 {}\n",
    .drafts = "（草稿 {}/{} 正确）",
};

}  // namespace

Language language_of(std::string_view setting) {
  if (setting == "en") return Language::english;
  if (setting == "zh") return Language::chinese;
  for (const char* name : {"LC_ALL", "LC_MESSAGES", "LANG"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0')
      return std::strncmp(value, "zh", 2) == 0 ? Language::chinese : Language::english;
  }
  return Language::english;
}

const Messages& messages(Language language) { return language == Language::chinese ? chinese : english; }

}  // namespace moebox::cli
