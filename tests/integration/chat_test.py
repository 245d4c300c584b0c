"""The chat at a terminal: editing, history, commands, Ctrl-C, saved conversations, wide characters."""
import json
import os
import signal
import termios
import time
import unittest

from program import PATIENCE, SMOL, ProgramTest, read_text

CHAT = ["run", SMOL, "--temperature", "0", "--max-tokens", "24"]
FIGURES = r"tokens · prefill \d+ at"
# Three thoughts before the question: the model makes a fourth one of that kind.
THINKING = """{%- for sum, result in [("1+1", 2), ("2+3", 5), ("4+4", 8)] -%}
<|im_start|>user
What is {{ sum }}?<|im_end|>
<|im_start|>assistant
<think>
The user asks for a sum. I add.
</think>

It is {{ result }}.<|im_end|>
{% endfor -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
<|im_start|>assistant
<think>
"""


class ChatTest(ProgramTest):
    def chat(self, *arguments, **options):
        terminal = self.terminal(*CHAT, *arguments, **options)
        terminal.expect("is ready", 120)
        terminal.prompt()
        return terminal

    def leave(self, terminal):
        terminal.line("/bye")
        self.assertEqual(terminal.finish(), 0)

    def test_a_question_and_an_answer_that_remembers(self):
        chat = self.chat()
        chat.line("In which city is the Eiffel Tower?")
        chat.expect("Paris")
        chat.expect(FIGURES)
        chat.prompt()
        chat.line("/show")
        chat.expect(r"messages +2\b")
        chat.expect(r"context +\d+ of \d+ tokens")
        chat.prompt()
        self.leave(chat)

    def test_ctrl_d_leaves_and_the_terminal_is_as_before(self):
        chat = self.terminal(*CHAT)
        before = chat.attributes()
        chat.expect("is ready", 120)
        chat.prompt()
        self.assertFalse(chat.attributes()[3] & termios.ICANON)
        chat.send("\x04")
        chat.expect(r"\x1b\[\?2004l")
        deadline = time.monotonic() + 10 * PATIENCE  # the settings come back a moment after that sequence
        while chat.attributes() != before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(before, chat.attributes())
        self.assertEqual(chat.finish(), 0)

    def test_ctrl_c_at_the_prompt_asks_and_then_leaves(self):
        chat = self.chat()
        chat.send("half a question\x03")
        chat.prompt()
        chat.send("\x03")
        chat.expect("leaves")
        chat.prompt()
        chat.send("\x03")
        self.assertEqual(chat.finish(), 0)

    def test_ctrl_c_stops_an_answer_and_not_the_program(self):
        chat = self.chat("--max-tokens", "2000")
        chat.line("Tell me a long story about a dragon and a knight.")
        chat.expect(r"\x1b\[\?2004l\S+(\s+\S+){5}")  # the answer has begun
        chat.send("\x03")
        start = time.monotonic()
        chat.expect(r"\[stopped\]")
        self.assertLess(time.monotonic() - start, 5 * PATIENCE)
        chat.expect(FIGURES)
        chat.prompt()
        # A signal from elsewhere is the same.
        chat.line("Tell me another long story, about a castle and a king.")
        chat.expect(r"\x1b\[\?2004l\S+(\s+\S+){5}")
        os.kill(chat.process, signal.SIGINT)
        chat.expect(r"\[stopped\]")
        chat.prompt()
        chat.line("/show")
        chat.expect(r"messages +4\b")
        chat.prompt()
        self.leave(chat)

    def test_sigterm_gives_the_terminal_back(self):
        chat = self.terminal(*CHAT)
        before = chat.attributes()
        chat.expect("is ready", 120)
        chat.prompt()
        os.kill(chat.process, signal.SIGTERM)
        self.assertEqual(chat.finish(), -signal.SIGTERM)
        self.assertEqual(chat.attributes()[3], before[3])

    def test_history_comes_back_in_the_next_chat(self):
        chat = self.chat()
        chat.line("/system You like cats.")
        chat.prompt()
        chat.line("/set seed 5")
        chat.prompt()
        chat.send("\x1b[A\x1b[A")  # up, up
        chat.expect("/system You like cats")
        chat.send("\x1b[B")
        chat.expect("/set seed 5")
        chat.send("\x15")
        self.leave(chat)
        history = self.path(".local/state/moebox/history")
        self.assertEqual(read_text(history), "/system You like cats.\n/set seed 5\n/bye\n")
        self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)
        chat = self.chat()
        chat.send("\x10\x10\x10")  # Ctrl-P
        chat.expect("/system You like cats")
        chat.send("\x15")
        self.leave(chat)
        off = self.chat(MOEBOX_HISTORY="off")
        off.line("/clear")
        off.prompt()
        self.leave(off)
        self.assertEqual(read_text(history).count("/clear"), 0)

    def test_editing_keys(self):
        chat = self.chat()
        # Typed: "/seX tem", corrected by keys to "/set temperature 0.25".
        chat.send("/seX tem")
        chat.send("\x01\x1b[C\x1b[C\x1b[C\x1b[3~t\x05")  # home, right x3, delete, t, end
        chat.send("p\x7fperature 0.5 junk\x17\x7f\x7f25")  # backspace, cut a word, erase " 5"
        chat.send("\r")
        chat.expect(r"temperature = 0\.25")
        chat.prompt()
        chat.send("/sh\t")  # completed to /show
        chat.send("\r")
        chat.expect(r"temperature +0\.25")
        chat.prompt()
        self.leave(chat)

    def test_multiple_lines(self):
        chat = self.chat()
        chat.line("one \\")
        chat.expect(r"\.\.\. ")
        chat.line("two")
        chat.expect(FIGURES)
        chat.prompt()
        chat.line('"""first')
        chat.expect(r"\.\.\. ")
        chat.line("second")
        chat.expect(r"\.\.\. ")
        chat.line('third"""')
        chat.expect(FIGURES)
        chat.prompt()
        chat.send("\x1b[200~pasted one\rpasted two\x1b[201~")  # nothing is sent before Enter
        chat.expect("pasted two")
        chat.send("\r")
        chat.expect(FIGURES)
        chat.prompt()
        chat.line('"""/etc/fstab: what is it?"""')  # no command
        chat.expect(FIGURES)
        chat.prompt()
        chat.line("/save talk.json")
        chat.expect("8 messages written")
        chat.prompt()
        self.leave(chat)
        said = [message["content"] for message in json.loads(read_text(self.path("talk.json")))["messages"] if message["role"] == "user"]
        self.assertEqual(said, ["one \ntwo", "first\nsecond\nthird", "pasted one\npasted two", "/etc/fstab: what is it?"])

    def test_chinese_is_typed_edited_and_kept(self):
        chat = self.chat(columns=20)
        chat.send("/system 你好，世界呀，这是一个很长的系统提示")
        chat.send("\x7f\x7f")  # two characters, not two bytes
        chat.send("\r")
        chat.expect("system prompt is set")
        chat.prompt()
        chat.line("/save talk.json")
        chat.expect("1 messages written")
        chat.prompt()
        self.leave(chat)
        saved = json.loads(read_text(self.path("talk.json")))
        self.assertEqual(saved["messages"], [{"role": "system", "content": "你好，世界呀，这是一个很长的系统"}])

    def test_save_load_clear_and_system(self):
        chat = self.chat("--system", "You are terse.")
        chat.line("/system")
        chat.expect("You are terse")
        chat.prompt()
        chat.line("In which city is the Eiffel Tower?")
        chat.expect(FIGURES)
        chat.prompt()
        chat.line("/save talk.json")
        chat.expect("3 messages written")
        chat.prompt()
        chat.line("/clear")
        chat.prompt()
        chat.line("/system none")
        chat.prompt()
        chat.line("/show")
        chat.expect(r"system +-.*messages +0")
        chat.prompt()
        chat.line("/load talk.json")
        chat.expect("3 messages read")
        chat.prompt()
        chat.line("/show")
        chat.expect(r"system +You are terse.*messages +2")
        chat.prompt()
        self.leave(chat)
        again = self.chat("--load", "talk.json")
        again.line("/show")
        again.expect(r"messages +2")
        again.prompt()
        self.leave(again)

    def test_mistakes_are_told_and_nothing_is_lost(self):
        chat = self.chat()
        self.write("bad.json", "{}")
        for line, told in (("/tempreature 3", "there is no command"), ("/sav", "there is no command.*did you mean '/save'"), ("/load", "expected the name"),
                           ("/load nothing.json", "could not be opened"), ("/load bad.json", "messages"),
                           ("/set tempreature 1", "did you mean 'temperature'"), ("/set temperature hot", "expected a number"),
                           ("/set top_p 3", "from 0 to 1"), ("/save /no/such/folder/x", "could not be written")):
            chat.line(line)
            chat.expect("moebox: error: .*" + told)
            chat.prompt()
        self.leave(chat)

    def test_a_full_context_forgets_the_oldest_and_says_so(self):
        chat = self.chat("--context", "192", "--max-tokens", "40")
        for round_number in range(6):
            chat.line(f"Question {round_number}: tell me something about the number {round_number}.")
            chat.expect(FIGURES)
            chat.prompt()
        self.assertIn("the context was full: the oldest", chat.screen)
        chat.line("long " * 300)
        chat.expect("this message takes")
        chat.prompt()
        self.leave(chat)

    def test_a_dumb_terminal_gets_no_escape_sequences(self):
        chat = self.terminal(*CHAT, TERM="dumb")
        chat.expect(">>> ", 120)
        chat.send("In which city is the Eiffel Tower?\n")
        chat.expect("Paris")
        chat.expect(">>> ")
        chat.send("/bye\n")
        self.assertEqual(chat.finish(), 0)
        self.assertNotIn("\033", chat.screen)

    def test_no_color_leaves_out_colours_and_keeps_editing(self):
        chat = self.chat(NO_COLOR="1")
        chat.line("Hello")
        chat.expect(FIGURES)
        chat.prompt()
        self.leave(chat)
        self.assertNotIn("\033[2m", chat.screen)
        self.assertNotIn("\033[1m", chat.screen)

    def test_thinking_is_dimmed_and_no_part_of_the_answer(self):
        question = [*CHAT, "--template", self.write("thinking.jinja", THINKING), "What is 3+3?"]
        terminal = self.terminal(*question)
        terminal.expect(r"\x1b\[2m[^\x1b]*The\x1b\[0m", 120)
        terminal.expect(r"\x1b\[2m add\x1b\[0m")
        terminal.expect(r"\x1b\[0m\r\n\r\nIt is \d+\.\r\n\x1b\[2m\d+ " + FIGURES)
        self.assertEqual(terminal.finish(), 0)
        self.assertNotIn("think>", terminal.screen)
        terminal = self.terminal(*question, NO_COLOR="1")
        terminal.expect(r"<think>\r\nThe user asks[^<]*\r\n</think>\r\n\r\nIt is \d+\.", 120)
        self.assertEqual(terminal.finish(), 0)
        self.assertNotIn("\x1b[", terminal.screen)
        self.assertRegex(self.run_program(*question)[0], r"\AIt is \d+\.\n\Z")
        found = json.loads(self.run_program(*question, "--json")[0])
        self.assertRegex(found["reasoning_content"], r"\AThe user asks.*add\.\Z")
        self.assertRegex(found["text"], r"\AIt is \d+\.\Z")

    def test_chinese_messages(self):
        chat = self.terminal(*CHAT, LANG="zh_CN.UTF-8")
        chat.expect("已就绪", 120)
        chat.prompt()
        chat.line("/help")
        chat.expect("清除对话")
        chat.prompt()
        self.leave(chat)

    def test_a_question_on_the_command_line_is_answered_once(self):
        terminal = self.terminal(*CHAT, "In which city is the Eiffel Tower?")
        terminal.expect("Paris", 120)
        terminal.expect(r"\x1b\[2m\d+ " + FIGURES)
        self.assertEqual(terminal.finish(), 0)

    def test_what_is_typed_during_an_answer_comes_next(self):
        chat = self.chat()
        chat.line("In which city is the Eiffel Tower?")
        chat.expect("Eiffel")
        chat.send("/show\r")
        chat.expect(FIGURES)
        chat.expect(r"messages +2")
        chat.prompt()
        self.leave(chat)

    def test_a_terminal_that_goes_away_ends_the_chat(self):
        chat = self.chat()
        process = chat.process
        os.close(chat.fd)
        chat.fd = None
        deadline = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < deadline:
            done, _ = os.waitpid(process, os.WNOHANG)
            if done:
                chat.process = None
                return
            time.sleep(0.05)
        self.fail("still there")


if __name__ == "__main__":
    unittest.main()
