"""Texts for comparing and measuring tokenizers: made from seeds, the same on every machine but for what is taken from Python's library.

`documents(size)` gives bytes (some of them no UTF-8): prose in many scripts, code, emoji, numbers, white space, random code points.
  corpus.py FILE [BYTES]     writes them as encode_file and tokenizer_bench read them: each with its length before it
"""
import pathlib
import random
import struct
import sys
import sysconfig

CHINESE = """今天早上下了一场小雨，院子里的石榴花落了一地。爷爷说，雨后的空气最适合读书，于是我们搬了两把竹椅，坐在屋檐下。
机器学习并不神秘：把数据分成训练集和测试集，先让模型看很多例子，再用它没有见过的例子检验它。如果两边的误差相差很大，多半是过拟合了。
请把文件保存到“下载”文件夹，然后重新启动程序；如果问题仍然存在，请联系管理员（分机：8203），或者发邮件至 support@example.com。
二〇二四年三月十五日，公司在深圳召开了年度会议。全年营业收入为3,482.7万元，同比增长12.6%，其中海外市场占比首次超过40%。
稀疏混合专家模型每次只激活少数专家，因此参数很多而计算量不大。路由器给每个专家打分，取分数最高的八个，再把它们的输出加权相加。
「你吃過飯了嗎？」她問。「還沒有，」他笑著回答，「等你一起去夜市，聽說那家蚵仔煎很好吃。」繁體字與簡體字混排時，分詞器也必須正確處理。
床前有月光，地上似有霜。小河弯弯向东流，流到江南绕白洲。山高路远人不倦，书到用时方恨少。千里之行，始于足下；九层之台，起于累土。
def 计算平均值(列表): return sum(列表) / len(列表)  # 变量名也可以用中文，虽然不常见。注意：Python 3 才支持这种写法！
他在银行办理业务时发现，行长正在行走的人群中寻找一位长者。重要的事情重复说三遍：不要怕，不要怕，不要怕。
"""

ENGLISH = """The old lighthouse keeper didn't trust the radio; he'd rather count the waves himself. "They'll come in sevens," he said, "and you're to wait for the eighth."
We've measured 1,024 samples at 44.1 kHz, and I'm sure that's enough. It's not the size of the set that matters - it's whether the labels can be trusted.
A mixture-of-experts layer routes each token to k of n experts. With n = 256 and k = 8 about 3.1% of the experts' weights are touched per token.
Please don't reply to this e-mail. If you'd like to unsubscribe, visit https://example.org/unsubscribe?id=42&lang=en#top or call +44 (0)20 7946 0958.
WARNING: the API's response_format isn't supported yet; see docs/CHANGELOG.md (v2.3.1-rc.4) for what WE'LL CHANGE NEXT. ISN'T THAT NICE? I'M SURE IT'S OK.
camelCaseNames, snake_case_names, SCREAMING_SNAKE, kebab-case, dotted.names.everywhere, and HTTPServerErrorCodes all look different to a tokenizer.
"""

OTHERS = """Der Zug nach Würzburg fährt um 7:45 Uhr von Gleis 9¾ ab; die Straße war naß und die Füße müde. Übergrößenträger zahlen 19,99 € – ohne Gewähr.
L'été dernier, nous avons mangé des crêpes à l'Île-de-Ré ; « c'était délicieux ! », s'exclama-t-elle. Où est passé le garçon ? Œuvre, cœur, naïveté.
El niño preguntó: ¿cuándo llegará el tren de las 15:30? ¡Ojalá no se retrase! La cigüeña voló sobre Logroño y Mérida.
Às vezes não é possível traduzir a palavra «saudade»; a avó pôs pão, maçã e limões na mesa. Informações técnicas: 220 V, 60 Hz.
Zażółć gęślą jaźń. Pchnąć w tę łódź jeża lub ośm skrzyń fig. Święta spędzimy w Łodzi, potem pojedziemy do Żywca.
Příliš žluťoučký kůň úpěl ďábelské ódy. Řeka teče přes město, děti si hrají u břehu.
Árvíztűrő tükörfúrógép. Az őszi szél fújja a száraz leveleket a régi híd fölött.
Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul'da ılık bir akşam, IŞIK ve ışık; Iğdır'a gidiyoruz.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ёлка стоит в углу; подъезд №5, кв. 12, тел. 8-800-555-35-35.
Їжак із ґаночка вийшов на подвір'я. Щастя не купиш, а п'ять яблук – можна. Ўрад і вёска, чалавек і мова.
Η γρήγορη καφέ αλεπού πηδά πάνω από τον τεμπέλη σκύλο. Ὦ φίλε, πῶς ἔχεις; Ἀθῆναι καὶ ἡ θάλασσα.
הילדים שיחקו בחצר עד שירדה השמש. שָׁלוֹם עֲלֵיכֶם; מחיר הכרטיס: ₪25.50, ובסופי שבוע ₪30.
ذهب الولد إلى السوق واشترى خبزًا وتفاحًا. السَّلامُ عَلَيْكُمْ، كيف حالُكَ؟ السعر ١٢٫٥٠ ريالًا، والرقم ٠١٢٣٤٥٦٧٨٩.
امروز هوا خیلی خوب است؛ می‌خواهیم به کوه برویم. قیمت: ۱۲۳۴۵ تومان.
اردو زبان میں یہ جملہ لکھا گیا ہے۔ بارش کے بعد موسم خوشگوار ہو گیا۔
आज मौसम बहुत अच्छा है, चलो नदी के किनारे टहलते हैं। क्षत्रिय, ज्ञान, श्रद्धा; मूल्य ₹१,२३४.५६ है। हिन्दी में संयुक्ताक्षर होते हैं।
আজ সকালে বৃষ্টি হয়েছিল, তাই রাস্তা ভেজা। বাংলা ভাষায় লেখা বাক্য; দাম ৳৫০০।
இன்று மாலை கடற்கரைக்குச் செல்வோம். தமிழ் எழுத்துகள் அழகானவை; விலை ௹100.
ఈ రోజు వాతావరణం చాలా బాగుంది. తెలుగు లిపి గుండ్రంగా ఉంటుంది. ಕನ್ನಡ ಭಾಷೆ ಹಳೆಯದು. മലയാളം അക്ഷരങ്ങൾ വട്ടത്തിലാണ്.
ਪੰਜਾਬੀ ਬੋਲੀ ਮਿੱਠੀ ਹੈ। ગુજરાતી લિપિમાં લખેલું વાક્ય. ଓଡ଼ିଆ ଭାଷା। සිංහල අකුරු ලස්සනයි.
วันนี้อากาศดีมาก เราไปเดินเล่นริมแม่น้ำกันเถอะ ราคา ๑๒๓ บาท ภาษาไทยไม่เว้นวรรคระหว่างคำ ກະລຸນານັ່ງລົງ ខ្មែរ အင်္ဂလိပ်စာ မြန်မာစာ
今日は天気がいいので、川沿いを散歩しましょう。カタカナとひらがな、漢字が混ざった文章です。「ｶﾞｷﾞｸﾞ」は半角、価格は￥１，２３４（税込）。パソコンがこわれたぁー！
오늘은 날씨가 좋아서 강가를 산책했습니다. 가격은 ₩12,000원이고, 할인율은 15%예요. 옛한글: ᄒᆞᆫ글, 나랏〮말〯ᄊᆞ미.
Hôm nay trời đẹp quá, chúng ta đi dạo bờ sông nhé! Giá vé là 45.000 đồng; Nguyễn Thị Ánh Tuyết ở phường Đống Đa.
ქართული ანბანი ლამაზია. Հայերեն տառերը հին են։ አማርኛ ፊደል ውብ ነው። ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ བོད་ཡིག་གི་ཡི་གེ།
Tôi yêu bạn; Ég elska þig; Rwy'n dy garu di; Ek het jou lief; Mi amas vin; Nakupenda; Mahal kita; Aku cinta kamu; Ես քեզ սիրում եմ.
∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α∧¬β ≡ ¬(¬α∨β), ∑ᵢ₌₁ⁿ i = n(n+1)/2, ∫₀^∞ e^{−x²} dx = √π/2, x² + y³ ≠ z⁴, ½ + ⅓ = ⅚, Ⅻ ⅷ ㊿ ① ⒈ ²³¹ ₁₂₃ 𝟘𝟙𝟚 𝕳𝖊𝖑𝖑𝖔
""" + "e\u0301 a\u0308\u0323 o\u0302\u0301 n\u0303 A\u030a \u1100\u1161\u11a8 \u0915\u094d\u0937 \u05e9\u05c1 ﬁ ﬂ ﬆ Ａ１！ ㎏ ℃ ™ © \u212b \u2126 \u00b5 \u03bc \u017f \u0130 \u0131 \u1e9e \u00df\n"

EMOJI = ("😀 😂🤣 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇨🇳🇺🇸 1️⃣2️⃣ ❤️ ✨🎉🔥 🧑🏿‍🚀 🫠 🥹 ☺️ ☕️ ⌚ ▶️ ™️ 🈶 🉐 🀄 🃏 ♠♥♦♣ ☂ ★☆ ←↑→↓ ■□▲△ ◯ ♪♫ "
         "┌─┬─┐│ │└─┴─┘ ░▒▓█ ⠓⠑⠇⠇⠕ \u200b\u200d\ufeff\u00ad\u2060 …—–‘’“”‹›«» ¡¿ § ¶ † ‡ • ‰ ′ ″ ‽ ⁂ ¤ ¢ £ ¥ ฿ ₿ ₫ ₴ ₸\n")

CODE = '''#include <vector>
template <class T, size_t N = 16>
constexpr auto sum(const std::array<T, N>& a) noexcept -> T { T s{}; for (auto&& x : a) s += x; return s; }  // O(n)
int main(int argc, char** argv) { if (argc != 2 || !argv[1]) return -1; printf("%08x\\n\\t\\"%s\\"", 0xDEADBEEFu, argv[1]); }
fn main() -> Result<(), Box<dyn Error>> { let v: Vec<_> = (0..10).map(|x| x * x).collect(); println!("{v:?}"); Ok(()) }
const f = async ({ a, b = 1, ...rest }) => { await fetch(`/api/${a}?b=${b}`); return rest?.x ?? null; }; // TODO
SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.created_at >= '2024-01-01' GROUP BY 1 HAVING n > 3;
<div class="card" data-id='17'><a href="https://example.com/a_b-c?d=e&amp;f">link</a><br/>&nbsp;&copy; 2024</div>
{"model": "deepseek-v3", "temperature": 0.7, "stop": ["\\n\\n", "</s>"], "n": 1e-3, "x": null, "y": [true, false]}
\\begin{equation} \\frac{\\partial u}{\\partial t} = \\nabla^2 u + \\sum_{i=0}^{n} \\alpha_i x_i^2 \\end{equation} % LaTeX
for i in $(seq 1 10); do echo "$i" | sed -e 's/[0-9]\\+/<&>/g' >> out.txt 2>&1 && rm -rf ./tmp/*; done
	\tif x == 1:\n\t\t\treturn {k: v for k, v in zip(a, b)}\n        else:\n            raise ValueError(f"{x!r:>10}")\r\n\r\n\r\n
'''

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<|fim_prefix|>", "<tool_call>", "</s>", "<s>",
           "<unk>", "<0x0A>", "[INST]", "<|eot_id|>", "<think>", "</think>", "<|im_start", "im_end|>", "<|", "|>", "▁", "▁▁", "Ġ", "Ċ", "##"]
BLANKS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\u180e", "\u200b"]
SEEDS = {"chinese": CHINESE, "english": ENGLISH, "others": OTHERS, "emoji": EMOJI, "code": CODE}


class Markov:
    """Text that looks like the seed: the next character by the last three."""

    def __init__(self, text, order=3):
        self.order, self.text, self.next = order, text, {}
        for i in range(len(text) - order):
            self.next.setdefault(text[i:i + order], []).append(text[i + order])

    def make(self, rng, length):
        start = rng.randrange(len(self.text) - self.order)
        out = list(self.text[start:start + self.order])
        while len(out) < length:
            choices = self.next.get("".join(out[-self.order:]))
            if choices is None or rng.random() < 0.02:
                start = rng.randrange(len(self.text) - self.order)
                out += self.text[start:start + self.order]
            else:
                out.append(rng.choice(choices))
        return "".join(out)


def random_code_points(rng, length):
    """Code points from everywhere, more from where writing is; never surrogates."""
    out = []
    while len(out) < length:
        kind = rng.random()
        if kind < 0.3:
            c = rng.randrange(0x20, 0x250)
        elif kind < 0.6:
            c = rng.randrange(0x250, 0x3100)
        elif kind < 0.75:
            c = rng.randrange(0x3100, 0x10000)
        elif kind < 0.9:
            c = rng.randrange(0x10000, 0x20000)
        else:
            c = rng.randrange(0, 0x110000)
        if 0xD800 <= c < 0xE000:
            continue
        out.append(chr(c))
        if rng.random() < 0.15:
            out.append(rng.choice(BLANKS))
    return "".join(out)


def hanzi(rng, length):
    """Chinese characters, the frequent ones more often, with punctuation."""
    out = []
    for _ in range(length):
        out.append(rng.choice("，。！？、；：“”（）《》") if rng.random() < 0.08 else chr(0x4E00 + min(int(rng.expovariate(1 / 4000)), 0x51FF)))
    return "".join(out)


def marks(rng, length):
    """Letters under piles of combining marks, jamo, variation selectors: what normal forms are about."""
    pool = ([chr(c) for c in range(0x300, 0x370)] + [chr(c) for c in range(0x1AB0, 0x1AD0)] + [chr(c) for c in range(0x1DC0, 0x1E00)]
            + [chr(c) for c in (0x3099, 0x309A, 0x05B0, 0x05BC, 0x064B, 0x0651, 0x094D, 0x09CD, 0x0E38, 0x0F71, 0x302A, 0xFE20, 0xFE0F, 0x1D165, 0x10D24, 0x8D3)])
    base = "aeiounAEIOU\u00e4\u1ebf가각かがハば\u1100\u1161\u11a8\u0915\u09c7\u0be6q1 ."
    return "".join(rng.choice(base) + "".join(rng.choice(pool) for _ in range(rng.choice((0, 0, 1, 1, 2, 5)))) for _ in range(length // 2))


def puzzle(rng, length):
    """Short pieces of everything, put together at random."""
    pieces = [w for seed in SEEDS.values() for w in seed.split(" ")] + SPECIAL * 4
    out = []
    while len(out) < length // 5:
        out.append(rng.choice(pieces))
        out.append(rng.choice(BLANKS) * rng.choice((0, 1, 1, 1, 2, 7)))
        if rng.random() < 0.1:
            out.append(str(rng.randrange(10 ** rng.randrange(1, 20))))
        if rng.random() < 0.05:
            out.append(rng.choice("aA1 \n.。中😀é") * rng.randrange(1, 200))
    return "".join(out)


def spoil(rng, data):
    """Changes, drops and inserts bytes, so that the text is no UTF-8 any more."""
    data = bytearray(data)
    for _ in range(max(1, len(data) // 200)):
        at = rng.randrange(len(data))
        what = rng.random()
        if what < 0.4:
            data[at] = rng.randrange(256)
        elif what < 0.7:
            del data[at]
        else:
            data[at:at] = bytes(rng.choice(((0xFF,), (0xC0, 0x80), (0xED, 0xA0, 0x80), (0xF4, 0x90, 0x80, 0x80), (0xE2, 0x82), (0xF0, 0x9F, 0x98))))
        if not data:
            data = bytearray(b"\xff")
    return bytes(data)


def library_sources():
    """Python's own library: code that every machine has."""
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" not in path.parts and "dist-packages" not in path.parts:
            yield path.read_bytes()


def documents(size, seed=1, code_share=0.3, lengths=(100, 1000, 20000, 60000)):
    """At least `size` bytes of documents; `lengths` are about how long they are, `code_share` is how much of it is Python's library."""
    rng = random.Random(seed)
    markov = {name: Markov(text) for name, text in SEEDS.items()}
    makers = [
        lambda n: markov["chinese"].make(rng, n // 3), lambda n: hanzi(rng, n // 3), lambda n: markov["english"].make(rng, n),
        lambda n: markov["others"].make(rng, n // 2), lambda n: markov["others"].make(rng, n // 2), lambda n: markov["emoji"].make(rng, n // 3),
        lambda n: markov["code"].make(rng, n), lambda n: puzzle(rng, n), lambda n: random_code_points(rng, n // 3), lambda n: marks(rng, n // 2),
    ]
    made = 0
    for text in [*SEEDS.values(), *SPECIAL, *BLANKS, ""]:
        yield text.encode()
        made += len(text.encode())
    code = 0
    for source in library_sources() if code_share > 0 else ():
        if code > size * code_share:
            break
        code += len(source)
        made += len(source)
        yield source
    while made < size:
        data = rng.choice(makers)(rng.choice(lengths)).encode()
        if rng.random() < 0.1:
            data = spoil(rng, data)
        made += len(data)
        yield data


def pack(texts):
    """Each with its length before it, 32 bits little-endian."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_bytes(pack(documents(int(sys.argv[2]) if len(sys.argv) > 2 else 20_500_000)))
