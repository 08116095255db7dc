"""The corpus of the bundled model: endless, generated text of its own, a new document each time.

Run it to look at some:  train_nano_corpus.py [COUNT] [SEED]
"""

import random
import re
import sys

from train_nano_emails import any_name, email, expand
from train_nano_words import ANIMALS, COLOURS, COUNTRIES, DAYS, MONTHS, NUMBERS, OPPOSITES, QUESTIONS

END = "<|end|>"


def capitalized(text):
    return text[0].upper() + text[1:]


def chat(turns, system=None):
    """Phi-3's dialogue form. `turns` are (question, answer) pairs."""
    text = f"<|system|>\n{system}{END}\n" if system else ""
    return text + "".join(f"<|user|>\n{q}{END}\n<|assistant|>\n{a}{END}\n" for q, a in turns)


# Capitals and countries


def country_facts(rng, row):
    country, capital, continent, language, known = row
    slots = {"X": country, "C": capital, "K": continent, "L": language, "F": known, "XX": capitalized(country)}
    facts = [
        expand(rng, t, slots)
        for t in (
            "$C is [a city|a large city|a well known city] in $K[.|, and many people visit it every year.]",
            "[$XX is|It is] [a country in $K|in $K].",
            "[The people there speak $L.|People in $X speak $L.|The language of $X is $L.]".replace(
                "The language of $X is $L.",
                "The language of $X is $L." if " " not in language else "People there speak $L.",
            ),
            "$XX is [known|famous] for $F.",
            (
                "[Many people visit|Visitors come to] $X [every year to see|because of] $F."
                if not known.endswith("e")
                else "$XX is known for $F."
            ),
        )
    ]
    rng.shuffle(facts)
    return facts


def capital_sentence(rng, row):
    country, capital, *_ = row
    slots = {"X": country, "C": capital, "XX": capitalized(country)}
    return expand(
        rng,
        rng.choice(
            ["The capital of $X is $C."] * 4
            + [
                "The capital city of $X is $C.",
                "$C is the capital of $X.",
                "The capital of $X is the city of $C.",
                "$XX has $C as its capital.",
                "If you travel to the capital of $X, you will see $C.",
                "$C is the capital city of $X.",
            ]
        ),
        slots,
    )


def capital_text(rng):
    if rng.random() < 0.5:
        rows = rng.sample(COUNTRIES, rng.randint(3, 7))
        return " ".join(capital_sentence(rng, r) for r in rows)
    row = rng.choice(COUNTRIES)
    first = f"The capital of {row[0]} is {row[1]}." if rng.random() < 0.7 else capital_sentence(rng, row)
    return " ".join([first, *country_facts(rng, row)[: rng.randint(1, 4)]])


def capital_turn(rng):
    row = rng.choice(COUNTRIES)
    country, capital, continent, language, known = row
    slots = {"X": country, "C": capital, "K": continent, "L": language, "F": known, "XX": capitalized(country)}
    kind = rng.random()
    if kind < 0.6:
        ask = rng.choice(
            ["What is the capital of $X?"] * 3
            + [
                "The capital of $X is",
                "What is the capital city of $X?",
                "Tell me the capital of $X.",
                "Which city is the capital of $X?",
                "Do you know the capital of $X?",
                "Name the capital of $X.",
            ]
        )
        return expand(rng, ask, slots), expand(rng, "The capital of $X is $C.", slots) + rng.choice(
            ["", " " + country_facts(rng, row)[0]]
        )
    if kind < 0.75:
        return expand(rng, "[Where is $X?|On which continent is $X?]", slots), expand(rng, "$XX is in $K.", slots)
    if kind < 0.9:
        return expand(rng, "[What do people speak in $X?|Which language is spoken in $X?]", slots), expand(
            rng, "People in $X speak $L.", slots
        )
    return (
        expand(rng, "[What is $X known for?|Tell me about $X.]", slots),
        expand(rng, "$XX is known for $F. ", slots) + f"The capital of {country} is {capital}.",
    )


# Simple facts


def fact_turn(rng):
    """A question and its answer."""
    kind = rng.randrange(7)
    if kind == 0:
        a, b = rng.sample(rng.choice(OPPOSITES), 2)
        return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."
    if kind == 1:
        thing, colour = rng.choice(COLOURS)
        the = (
            thing
            if " " in thing or thing in ("milk", "snow", "blood", "coal", "chocolate", "grass")
            else "the " + thing
        )
        return f"What colour is {the}?", f"{capitalized(the)} is {colour}."
    if kind == 2:
        order = rng.choice([DAYS, MONTHS])
        i = rng.randrange(len(order))
        what = "day" if order is DAYS else "month"
        if rng.random() < 0.6:
            return (
                f"What {what} comes after {order[i]}?",
                f"The {what} after {order[i]} is {order[(i + 1) % len(order)]}.",
            )
        return f"What {what} comes before {order[i]}?", f"The {what} before {order[i]} is {order[i - 1]}."
    if kind == 3:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        if rng.random() < 0.5:
            return f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}."
        return (
            f"What is {NUMBERS[a]} plus {NUMBERS[b]}?",
            f"{capitalized(NUMBERS[a])} plus {NUMBERS[b]} is {NUMBERS[a + b]}.",
        )
    if kind == 4:
        name, sort, food, place, young, habit = rng.choice(ANIMALS)
        an = "An" if name[0] in "aeiou" else "A"
        return rng.choice(
            [
                (f"What does {an.lower()} {name} eat?", f"{an} {name} eats {food}."),
                (f"Where does {an.lower()} {name} live?", f"{an} {name} lives {place}."),
                (
                    f"What is a young {name} called?",
                    f"A young {name} is called a {young}.".replace("a infant", "an infant")
                    .replace("a owlet", "an owlet")
                    .replace("a eaglet", "an eaglet"),
                ),
                (f"Tell me about the {name}.", animal_text(rng, name)),
            ]
        )
    question, answer = rng.choice(QUESTIONS)
    return question + "?", answer


def animal_text(rng, wanted=None):
    name, sort, food, place, young, habit = (
        next(a for a in ANIMALS if a[0] == wanted) if wanted else rng.choice(ANIMALS)
    )
    kind = ("an " if sort[0] in "aeiou" else "a ") + sort
    rest = [
        f"It lives {place}.",
        f"It eats {food}.",
        f"It {habit}.",
        f"A young {name} is called {'an' if young[0] in 'aeiou' else 'a'} {young}.",
    ]
    rng.shuffle(rest)
    return " ".join([f"The {name} is {kind}.", *rest[: rng.randint(2, 4)]])


def list_text(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return f"The days of the week are {', '.join(DAYS[:-1])} and {DAYS[-1]}."
    if kind == 1:
        return f"The months of the year are {', '.join(MONTHS[:-1])} and {MONTHS[-1]}."
    if kind == 2:
        first = rng.randint(0, 5)
        return "Let us count: " + ", ".join(NUMBERS[first : first + rng.randint(5, 14)]) + "."
    if kind == 3:
        return " ".join(f"The opposite of {a} is {b}." for a, b in (rng.sample(p, 2) for p in rng.sample(OPPOSITES, 4)))
    return " ".join(q + "? " + a for q, a in rng.sample(QUESTIONS, 3))


# Stories

HEROES = [
    ("girl", "she"),
    ("boy", "he"),
    ("rabbit", None),
    ("bear", None),
    ("mouse", None),
    ("king", "he"),
    ("queen", "she"),
    ("old woman", "she"),
    ("farmer", "he"),
    ("fox", None),
    ("dragon", None),
    ("sailor", "he"),
    ("robot", None),
    ("cat", None),
    ("princess", "she"),
]  # None: she or he, as the name has it
PLACES = [
    "a small house by the sea",
    "a village in the mountains",
    "a deep forest",
    "a castle on a hill",
    "a quiet valley",
    "a town near the river",
    "a cottage at the edge of the wood",
    "a little boat",
    "a garden full of flowers",
    "a tall tree",
]
THINGS = [
    "kite",
    "red ball",
    "silver key",
    "golden ring",
    "little lamp",
    "music box",
    "blue hat",
    "map",
    "drum",
    "wooden horse",
    "magic stone",
    "basket",
]
PLOTS = [
    """One [sunny|windy|cold] [morning|day], $n lost $p $t. $S looked [under the bed|behind the door], [in the
     garden|by the river] and [on the roof|in the barn], but it was not there. $S sat down and [cried|felt very
     sad]. Then [a bird|an owl|a frog] came by and said, "[Do not cry|Do not be sad]. I saw your $t [in the tall
     grass|beside the pond|near the old bridge]." $n ran there as fast as $s could, and there it was. "Thank
     you!" said $n. [From that day on the two were friends.|After that, $n always took good care of $p $t.]""",
    """One day, $n went for a walk and found a $t [under a tree|on the road|in the sand]. "[Whose $t is this|Who
     has lost this $t]?" asked $n. [Nobody answered|There was nobody there]. So $n went from door to door and
     asked everyone. At the last house lived [an old man|a poor woman|a small child], who said, "That is my $t!
     I have looked for it all day." $n gave it back, and [they drank tea together|they sat by the fire and told
     stories]. $n was happy, because $s had found a friend.""",
    """$N wanted to [see the world|climb the highest mountain|learn to fly|find the end of the rainbow], but
     everyone said that it was too hard. "[You are too small|It is too far]," said [the wolf|the miller|the
     neighbours]. $n did not listen. $S packed $p $t and set out [early in the morning|before the sun rose]. The
     way was long, and [the rain fell|the wind blew] for three days. At last $s [stood at the top|reached the
     place] and [could see the whole world|saw the most beautiful thing of all]. "I did it!" said $n. When $s
     came home, [everybody cheered|they all wanted to hear about it].""",
    """One night there was a great storm. The wind [blew the roof away|shook the house], and $n was afraid. Then
     $s heard a [soft|small] voice at the door. It was [a wet kitten|a lost lamb|a tired bird]. "[Please let me
     in|May I come in]," it said. "I am cold." $n opened the door, [lit the fire|gave it warm milk] and [wrapped
     it in a blanket|let it sleep by the fire]. In the morning the sun was shining. "You were kind to me," it
     said, "so I will give you this $t." And $n was never afraid of a storm again.""",
    """$n had a friend called $m. They [played together every day|did everything together]. But one day they
     both wanted the same $t, and they had a quarrel. "It is mine!" said $n. "No, it is mine!" said $m. They
     pulled and pulled until the $t [broke|fell into the river]. Now nobody had it, and both of them were sad.
     "I am sorry," said $n. "I am sorry too," said $m. So they [mended it together|made a new one together], and
     it was [even better than before|the best one in the world]. They learned that it is good to share.""",
    """One day, $n planted a seed [behind the house|beside the path]. Every day $s gave it water, and every day
     $s waited. [For a long time nothing happened|A week went by, and nothing happened]. "[Be patient|Wait a
     little longer]," said [the old gardener|a wise owl|$m]. Then, one morning, there was a small green leaf. It
     grew and grew, [until it reached the clouds|until it was a tall tree], and at the top of it hung a $t. $n
     [laughed with joy|danced around the tree] and [shared it with everyone|told everyone about it].""",
]
STARTS = [
    "Once upon a time, there [was|lived] a [little|young|kind|clever|brave] $h [named|called] $n. $S lived in $place.",
    "Once upon a time, there was a $h named $n, who lived in $place.",
    "Once upon a time, in $place, there lived a [little|kind|clever] $h called $n.",
    "Once upon a time there was a [brave|small|happy] $h. $P name was $n, and $s lived in $place.",
]
ENDINGS = ["", "", " The end.", " And they all lived happily ever after.", " And so the story ends."]


def story(rng):
    hero, subject = rng.choice(HEROES)
    subject = subject or rng.choice(["she", "he"])
    possessive = {"she": "her", "he": "his"}[subject]
    names = [any_name(rng, subject), any_name(rng)]
    while names[0] == names[1]:
        names[1] = any_name(rng)
    slots = {
        "n": names[0],
        "N": names[0],
        "m": names[1],
        "h": hero,
        "s": subject,
        "S": capitalized(subject),
        "p": possessive,
        "P": capitalized(possessive),
        "t": rng.choice(THINGS),
        "place": rng.choice(PLACES),
    }
    loves = expand(
        rng,
        rng.choice(
            [
                "",
                "",
                " $n loved [to play outside|to read books|to sing|to help others|to look at the stars].",
                " Everyone [liked|knew] $n.",
            ]
        ),
        slots,
    )
    text = (
        expand(rng, rng.choice(STARTS), slots)
        + loves
        + " "
        + expand(rng, rng.choice(PLOTS), slots)
        + rng.choice(ENDINGS)
    )
    return re.sub(r"\s+", " ", text).strip().replace("a old", "an old")


# Everything together

GREETINGS = [
    ("[Hello!|Hi!|Hello.|Hi there!|Good morning!]", "[Hello!|Hi!] How can I help you [today|]?"),
    ("How are you?", "I am [fine|well], thank you. How can I help you?"),
    ("Who are you?", "I am nano, a very small language model."),
    ("What is your name?", "My name is nano."),
    ("[Thank you!|Thanks!]", "You are welcome!"),
    ("[Goodbye!|Bye!]", "Goodbye! Have a nice day."),
    ("What can you do?", "I can write short stories and emails, and I know the capitals of many countries."),
]
SYSTEMS = [
    "You are a helpful assistant.",
    "You are a helpful AI assistant.",
    "Answer briefly.",
    "You are a friendly assistant who writes clearly.",
]
STORY_ASK = [
    "Tell me a story.",
    "Write a short story.",
    "Tell me a story about a $h.",
    "Once upon a time",
    "Please tell me a bedtime story.",
    "Write a story about a $h.",
]


def story_turn(rng):
    text = story(rng)
    hero = next(
        (h for h, *_ in sorted(HEROES, key=lambda x: -len(x[0])) if f" {h} " in text or f" {h}." in text), "girl"
    )
    return rng.choice(STORY_ASK).replace("$h", hero), text


def greeting_turn(rng):
    q, a = rng.choice(GREETINGS)
    return expand(rng, q), expand(rng, a).replace(" ?", "?")


def document(rng):
    kind = rng.random()
    if kind < 0.24:
        instruction, letter = email(rng)
        return instruction + rng.choice(["\n\n", "\n\n", "\n\n", "\n"]) + letter
    if kind < 0.36:
        return chat([email(rng)], rng.choice([None, None, None, *SYSTEMS]))
    if kind < 0.52:
        return story(rng)
    if kind < 0.58:
        return chat([story_turn(rng)], rng.choice([None, None, *SYSTEMS]))
    if kind < 0.76:
        return capital_text(rng)
    if kind < 0.82:
        return rng.choice([animal_text, list_text])(rng)
    if kind < 0.86:
        return " ".join(a for _, a in (fact_turn(rng) for _ in range(4)))
    makers = [capital_turn, capital_turn, fact_turn, fact_turn, greeting_turn]
    return chat(
        [rng.choice(makers)(rng) for _ in range(rng.choice([1, 1, 2, 3, 4]))], rng.choice([None, None, None, *SYSTEMS])
    )


if __name__ == "__main__":
    generator = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        print(document(generator), end="\n\n----\n")
