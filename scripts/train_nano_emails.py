"""E-mails for the corpus of the bundled model: an instruction and the letter that answers it.

Texts are written in a small template language: [a|b|c] picks one branch (branches may nest), $slot is replaced by a
value that stays the same through one document.
"""

import re

from train_nano_words import BOYS, FLOWERS, GIRLS, HELD_OUT_NAMES, SENDERS, TITLED

INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def expand(rng, text, slots=None):
    """One random reading of a template: choices from the inside out, then slots."""
    while True:
        text, n = INNERMOST.subn(lambda m: rng.choice(m.group(1).split("|")), text)
        if n == 0:
            break
    return re.sub(r"\$(\w+)", lambda m: slots[m.group(1)], text)


SYLLABLES = (
    "ba bel ca cor da den el fa fer ga ho is ja ka la lo ma mi na ne o pa pri ra ri sa ser ta ti va vi ya yo za".split()
)
ENDINGS = {
    "she": ["a", "la", "na", "ra", "ya", "ria", "xa", "lin", "ret"],
    "he": ["n", "r", "l", "s", "ck", "ro", "lo", "gei", "bert", "nt"],
}


def any_name(rng, who=None):
    """A first name for `who` (she or he). One in four is made up, so that the model learns to copy what it is given."""
    who = who or rng.choice(["she", "he"])
    while True:
        if rng.random() < 0.75:
            return rng.choice(GIRLS if who == "she" else BOYS)
        name = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 2))).capitalize() + rng.choice(ENDINGS[who])
        if name not in HELD_OUT_NAMES:
            return name


# Each mishap: the thing that suffered, its story in order, the damage, the amends. $f is a kind of plant.
MISHAPS = {
    "gardening": [
        (
            "$f",
            [
                "[I was watering|I had promised to water|I wanted to water] your $f while you were away.",
                "I turned on the hose and [laid it down|left it] between the plants [for a moment|for just a minute].",
                (
                    "Then [my phone rang|the postman came|a neighbour called me], and I [forgot all about the"
                    " water|completely forgot the hose]."
                ),
                (
                    "The water ran [for three hours|all night|the whole afternoon], and [the soil was washed away|the"
                    " whole bed turned into a pond]."
                ),
            ],
            "[Most of|Nearly all of|Many of] your $f [drowned|were washed out of the ground|floated away].",
            "I [will replace every plant|have already ordered new plants|will bring you new $f]",
        ),
        (
            "$f",
            [
                "I wanted to surprise you and [cut the grass|mow the lawn] [in front of your house|behind the house].",
                (
                    "[The sun was in my eyes|I was listening to music], and I did not see [where the lawn ended|the"
                    " edge of the flower bed]."
                ),
                (
                    "[Suddenly|Before I knew it] the mower [jumped over the stones|rolled down the little hill] and"
                    " went straight into your $f."
                ),
                "I [pulled the cord|pressed the button] to stop it, but [the switch was stuck|it was too late].",
            ],
            "[In a few seconds|In one moment] your $f were [cut to pieces|gone].",
            "I [will plant new $f|would like to buy you new $f]",
        ),
        (
            "$f",
            [
                "I [meant to feed your $f|wanted to help your $f grow] with the [plant food|fertilizer] from the shed.",
                (
                    "There were two [green bottles|white cans] on the shelf, and [both looked the same|the labels were"
                    " hard to read]."
                ),
                (
                    "[Sadly|To my horror], I took the [wrong one|bottle of weed killer] and [poured it over the"
                    " plants|sprayed every leaf]."
                ),
                "[The next morning|Two days later] all the leaves were [brown|yellow and dry].",
            ],
            "[None of your $f survived|Your $f could not be saved].",
            "I [have bought new soil and young plants|will pay for new $f and fresh soil]",
        ),
        (
            "$f",
            [
                (
                    "I [left the garden gate open|forgot to close the gate] when I [came to pick up my tools|brought"
                    " back your rake]."
                ),
                (
                    "[My dog|A hungry goat|The neighbour's goat] [saw the open gate|ran in at once] and [found your"
                    " $f|headed for your $f]."
                ),
                (
                    "I ran after it [with a broom|shouting and waving my arms], but it [was faster than I was|thought"
                    " that it was a game]."
                ),
                "It [dug three deep holes|ate everything in its way] before I [caught it|could lead it away].",
            ],
            "[There is nothing left of your $f but stems|Your $f are ruined, and the bed is full of holes].",
            "I [will repair the bed and plant new $f|have filled the holes and ordered new $f]",
        ),
        (
            "greenhouse",
            [
                (
                    "I was [cutting the branches of the apple tree|trimming the tall hedge] [next to|right above] your"
                    " greenhouse."
                ),
                "I stood on the old ladder and [reached a little too far|leaned to one side].",
                "[A bee flew into my face|One foot slipped], and the ladder [began to tip|started to slide].",
                (
                    "I [jumped off in time|landed softly in the compost], but the ladder [fell through the glass"
                    " roof|crashed into the greenhouse]."
                ),
            ],
            "[Six panes are broken|The roof is broken], and your $f inside were [crushed|covered with glass].",
            "I [will pay for new glass|have called a man who will repair the roof]",
        ),
        (
            "hedge",
            [
                "I [offered|had offered] to trim your hedge, and I [started on the left side|began with great care].",
                (
                    "[One side looked higher than the other|It was not quite even], so I cut [a little more|the other"
                    " side]."
                ),
                (
                    "Then [the first side looked too high|it was still not even], and I [kept cutting|cut again and"
                    " again]."
                ),
                "When I stepped back, [the hedge reached only to my knees|there was almost no hedge left].",
            ],
            "[Your beautiful hedge is gone|Your hedge now looks like a row of sticks].",
            "I [will plant new bushes|have asked a real gardener to help]",
        ),
        (
            "pond",
            [
                "I was [bringing fresh soil|moving stones] to your garden in [my old wheelbarrow|a heavy wheelbarrow].",
                "The path was [wet from the rain|steep and slippery], and [I lost my grip|the wheel hit a root].",
                (
                    "The wheelbarrow rolled [down the hill|away from me], [broke through your $f|crushed your $f] and"
                    " [fell into the pond|landed in the pond]."
                ),
                (
                    "[I ran after it|I tried to catch it], but I [fell into the water too|only caught the handle, which"
                    " broke off]."
                ),
            ],
            (
                "[The pond is full of mud, and your $f are flat|Your $f are flat, and the water is brown]. [The fish"
                " are fine|The frogs are safe]."
            ),
            "I [will clean the pond|will clean the pond and plant new $f]",
        ),
        (
            "$f",
            [
                "I [wanted to pull the weeds|offered to weed the beds] while you were at work.",
                (
                    "[I do not know much about plants|I had left my glasses at home], and [the young plants all looked"
                    " alike to me|to me it all looked like weeds]."
                ),
                "I [worked for two hours|worked very hard] and [filled three bags|was proud of the clean soil].",
                (
                    "Then your neighbour looked over the fence and asked why I had [pulled out all the $f|thrown away"
                    " the $f]."
                ),
            ],
            (
                "[Every one of your $f is gone|All of your young $f are gone], and [the real weeds are still there|only"
                " the weeds are left]."
            ),
            "I [have put the plants that I could save in water|will buy young $f and plant them myself]",
        ),
    ],
    "cooking": [
        (
            "kitchen",
            [
                (
                    "I wanted to [make a pot of soup|cook dinner] for [you|all of us] and put [the big pot|the pan] on"
                    " the stove."
                ),
                "Then [I sat down to read|my sister called], and [I forgot the pot|I did not hear it boil over].",
                "[The soup burned|The oil began to smoke], and [the alarm rang|black smoke filled the room].",
                "I [threw water on it|opened all the windows], which [made it worse|was of little help].",
            ],
            "The [wall is black|pot is ruined], and the [whole house smells of smoke|curtains smell of smoke].",
            "I [will paint the wall|will clean the kitchen and buy a new pot]",
        ),
        (
            "birthday cake",
            [
                "I [was baking|had baked] a cake for your [birthday|party], and it [smelled wonderful|looked lovely].",
                (
                    "But I [took salt instead of sugar|mixed up the salt and the sugar], because [the jars look the"
                    " same|nobody had put labels on the jars]."
                ),
                "When I carried it to the table, I [tripped over the cat|slipped on the rug].",
                (
                    "The cake [flew through the air|slid off the plate] and [landed on your new carpet|hit your best"
                    " chair]."
                ),
            ],
            "[The cake was lost|There was no cake for anyone], and [there is cream on the carpet|the chair is sticky].",
            "I [will have the carpet cleaned|will bring you a better cake]",
        ),
    ],
    "painting": [
        (
            "living room",
            [
                (
                    "I [was helping you|had promised] to paint the [fence|wall], and I had [a large can of blue paint|a"
                    " full can of paint] with me."
                ),
                "I put the can on [the top of the ladder|the window sill], and [the wind blew|the dog ran by].",
                (
                    "The can [fell down|tipped over], and [paint ran over the floor|the paint splashed in every"
                    " direction]."
                ),
                "I tried to [wipe it up with a towel|clean it], but [it only spread|the stain only grew].",
            ],
            "[Your sofa is now partly blue|There is blue paint on your floor and on your books].",
            "I [will pay for the cleaning|will come back and clean everything]",
        ),
    ],
    "parking": [
        (
            "fence",
            [
                (
                    "I was [trying to park|parking] my car [in front of your house|beside your garden] [in the rain|in"
                    " the dark]."
                ),
                "[I looked in the mirror|I looked back], but [I did not see the fence|the window was wet].",
                "[My foot slipped|My shoe was wet], and [the car jumped back|I pressed the wrong pedal].",
                "There was a loud crack, and [the fence fell over|the car stood in your yard].",
            ],
            "[Four boards are broken|The gate is bent], and [your letter box is flat|your bicycle is bent].",
            "I [will repair the fence|have called my insurance]",
        ),
    ],
    "computer": [
        (
            "report",
            [
                "I [wanted to clean up|was cleaning up] the files on [our computer|the office computer].",
                "[I was tired|It was late], and I [marked the wrong folder|did not read the question on the screen].",
                (
                    "I [pressed the delete key|clicked on yes], and [everything was gone|the folder with your work was"
                    " gone]."
                ),
                "[I looked for a copy|I called the help desk], but [the last copy was a month old|there was no copy].",
            ],
            "[Your report is lost|Three weeks of your work are lost].",
            "I [will write it again with you|have set up a copy that is made every night]",
        ),
    ],
    "laundry": [
        (
            "white shirts",
            [
                "I wanted to [help you|be useful] and put your [white shirts|clothes] in the washing machine.",
                "I did not see that [a red sock|my new red towel] was still [in the machine|in the drum].",
                (
                    "I also [turned the dial to ninety degrees|chose the hottest water], because [I thought that hot"
                    " was clean|I was in a hurry]."
                ),
                "When I opened the door, [everything was pink|a cloud of steam came out, and everything was pink].",
            ],
            "[Your shirts are pink and would now fit a child|Your white shirts are now small and pink].",
            "I [will buy you new shirts|will pay for everything]",
        ),
    ],
    "party": [
        (
            "window",
            [
                (
                    "We were [dancing in your living room|playing a game in the garden], and [the music was"
                    " loud|everyone was happy]."
                ),
                (
                    "[Someone threw me a ball|I wanted to show a trick with a ball], and I [kicked it too hard|did not"
                    " look where I kicked it]."
                ),
                "It [flew over the table|bounced off the wall] and [through the window|straight into the window].",
                "[Then the lamp fell too|The glass fell on the food], and [the lights went out|everybody went quiet].",
            ],
            "[Your window is broken|Your window and your lamp are broken].",
            "I [will pay for a new window|have asked a glazier to come tomorrow]",
        ),
    ],
    "camping": [
        (
            "tent",
            [
                "We [made|had made] a small fire [beside your tent|near the tent] to [cook some beans|dry our socks].",
                "[I thought that the fire was out|I went to fetch water], but [the wind came up|it was still glowing].",
                "[A spark flew|Some sparks flew] to the tent, and [it began to burn|there was a hole at once].",
                "I [poured the soup over it|threw my coat on it], and [that put out the flames|the fire went out].",
            ],
            "[Your tent has a large hole|Half of your tent is gone], and [it smells of soup|your sleeping bag is wet].",
            "I [will buy you a new tent|will mend the hole and buy a new sleeping bag]",
        ),
    ],
}
OFF_LIST = ["boating", "library", "fishing", "wedding", "delivery", "bicycle", "holiday", "office"]
GENERIC = (
    "things",
    [
        "I [was in a hurry|was not careful enough] and [did not look where I was going|did not think].",
        (
            "[One thing led to another|First one thing went wrong, and then another], and [I could not stop it|I was"
            " too slow to stop it]."
        ),
        "[I tried to help|I tried to put it right], but [I only made it worse|that made everything worse].",
    ],
    "[Your things were damaged|Your day was spoiled], and [it was my fault|I am the only one to blame].",
    "I [will pay for the damage|will do all I can to put it right]",
)

ADJECTIVES = [
    "tragic",
    "unfortunate",
    "terrible",
    "awful",
    "recent",
    "silly",
    "embarrassing",
    "sad",
    "unlucky",
    "great",
]
WHEN = [
    "last Saturday",
    "yesterday",
    "last week",
    "on Sunday",
    "this morning",
    "last Tuesday",
    "on Friday evening",
    "the other day",
]

OPENING = """[I am writing to|I want to|I would like to] [apologize|say how sorry I am|offer my sincere
apologies] for the $a $d mishap $w. [I know how much your $t meant to you, and I feel terrible about what
happened.|I know how much work you put into your $t, and I am deeply sorry.|You trusted me with your $t, and I
let you down.|I have hardly slept since then, and I feel awful.]"""
BRIDGE = """[Let me explain how it happened.|I owe you an explanation.|Please let me tell you how it
happened.|This is how it happened.| Here is what happened.]"""
AMENDS = """$amends$later. [I hope that you can forgive me.|
Please forgive me.|I hope that we can still be friends.|Please let me know what else I can do.]"""
LATER = ["", " as soon as I can", " this weekend", ", if you will let me"]
FEELINGS = """[I understand if you are angry with me.|You have every right to be angry.|I cannot tell you how
bad I feel.] [You have always been a good friend to me, $n, and you did not deserve this.|You have always been
kind to me, $n. |I keep thinking of your face when you saw it, $n.] [I should have been more careful.|I should
have asked for help.|It was my fault alone.]"""
LESSON = """[I have learned a lesson from this.|This has taught me a lesson.|I have thought about it for a long
time.] [From now on I will |Next time I will|In the future I will] [keep my eyes on my work|take my time|ask
before I touch anything|leave my phone at home] [and never hurry again|and think twice before I begin|and check
everything twice]. [I promise that it will not happen again.|It will never happen again, I promise.|You have my
word.]"""
INVITE = """[I would also like to invite you to dinner|May I invite you for coffee and cake|I would like to come
by with flowers] [next week|on Sunday|when you have time]. [Then we can talk about it|We could plan everything
together|I will bring a list of ideas] [and find the best way to put things right|and I will listen to
everything you have to say]."""
CLOSING = [
    "Best regards,",
    "Warm regards,",
    "Sincerely,",
    "Yours sincerely,",
    "With sincere apologies,",
    "Your friend,",
    "Kind regards,",
]

INSTRUCTIONS = ["Write $k email apologizing to $n for the $a $d mishap. Explain how it happened."] * 5 + [
    "Write $k email to $n apologizing for the $a $d mishap. [Explain|Describe|Tell] how it happened.",
    "Write $k email to apologize to $n for the $a $d mishap. Explain [what happened|how it happened|the reason].",
    "[Please write|Compose] $k email apologizing to $n for the $a $d mishap[.|. Explain how it happened.]",
    (
        "Write $k [letter|message|note] to $n about the $a $d mishap. Say that [I am|you are] sorry[.| and explain how"
        " it happened.]"
    ),
    "Help me apologize to $n for the $a $d mishap in $k email. Explain how it happened.",
]
KINDS = {
    "short": ["a short", "a brief"],
    "normal": ["an", "an", "an", "a polite", "a sincere"],
    "long": ["a long", "a detailed"],
    "very long": ["a very long", "a very long", "an extremely long"],
}


def sentence_case(text):
    text = re.sub(r"\s+", " ", text).strip()
    return text[0].upper() + text[1:]


OTHER_LETTERS = [  # instruction, subject, body
    (
        "Write $k email thanking $n for the $gift.",
        "Thank You",
        [
            """Thank you [so much|very much] for the $gift. [I was so happy when I opened the door.|It was very kind of
            you.]""",
            """I [think of you every day|have already told all my friends], and [everyone is happy for me|it
             makes me smile every time]. [You always know what I like.|You have a good heart.]""",
        ],
    ),
    (
        "Write $k email inviting $n to [a|our] $event.",
        "Invitation to the [Party|Dinner]",
        [
            """I would like to invite you to our $event [on Saturday|next Friday|on Sunday]. [It begins at
             [six|seven|eight] in the evening.|We will start at noon.]""",
            """There will be [good food and music|cake and coffee|soup and fresh bread], and [many of our
             friends will come|you will know everyone there]. [Please tell me if you can come.|I hope that you
             can come.]""",
        ],
    ),
    (
        "Write $k email asking $n for [help with|advice on] my $task.",
        "A Question about My [Work|Plans]",
        [
            """I hope that you are well. I am writing because I need some help with my $task.""",
            """[I have tried for two days|I began last week], but [I do not know how to go on|I cannot find my
             mistake]. [Could we talk on the phone|Could you look at it] [tomorrow|this week]? [It would help me
             a lot.|I would be very grateful.]""",
        ],
    ),
]


def other_letter(rng):
    """A letter about something pleasant, so that not every letter is an apology."""
    instruction, subject, body = rng.choice(OTHER_LETTERS)
    slots = {
        "n": any_name(rng),
        "k": rng.choice(["an", "an", "a short", "a friendly"]),
        "gift": rng.choice(FLOWERS[:7] + ["book", "blue scarf", "cake", "lamp"]),
        "event": rng.choice(["birthday party", "dinner", "garden party", "summer party"]),
        "task": rng.choice(["garden", "report", "homework", "new house"]),
    }
    parts = [
        "Subject: " + expand(rng, subject, slots),
        f"Dear {slots['n']},",
        *(sentence_case(expand(rng, p, slots)) for p in body),
        f"{rng.choice(CLOSING[:3])}\n{rng.choice(SENDERS)}",
    ]
    return expand(rng, instruction, slots), "\n\n".join(parts)


def email(rng):
    """Returns (instruction, letter)."""
    if rng.random() < 0.1:
        return other_letter(rng)
    kind = rng.choice(["short", "normal", "normal", "normal", "long", "very long", "very long"])
    domain = rng.choice(list(MISHAPS) + ["gardening"] * 7 + ["other"])
    thing, story, damage, amends = rng.choice(MISHAPS[domain]) if domain != "other" else GENERIC
    slots = {
        "n": rng.choice(TITLED) if rng.random() < 0.07 else any_name(rng),
        "f": rng.choice(FLOWERS),
        "w": rng.choice(WHEN),
        "a": rng.choice(ADJECTIVES + ["tragic"] * 6),
        "d": domain if domain != "other" else rng.choice(OFF_LIST),
        "k": rng.choice(KINDS[kind]),
    }
    slots["t"] = expand(rng, thing, slots)
    slots["amends"] = expand(rng, amends, slots)
    slots["later"] = "" if "tomorrow" in slots["amends"] or slots["amends"].startswith("I have") else rng.choice(LATER)

    def text(template):
        return sentence_case(expand(rng, template, slots))

    subject = expand(
        rng,
        "[Sincere Apologies|My Apologies|An Apology|I Am Sorry|Apologies] for the $D Mishap",
        {"D": slots["d"].capitalize()},
    )
    explanation = " ".join(text(s) for s in (story if kind != "short" else [story[0], story[-1]]))
    paragraphs = [text(OPENING)]
    if kind == "short":
        paragraphs += [f"{explanation} {text(damage)} {text(AMENDS)}"]
    else:
        paragraphs += [f"{text(BRIDGE)} {explanation} {text(damage)}"]
        paragraphs += [text(FEELINGS)] if kind in ("long", "very long") else []
        paragraphs += [text(LESSON), text(INVITE)] if kind == "very long" else []
        paragraphs += [text(AMENDS)]
    letter = "\n\n".join(
        [f"Subject: {subject}", f"Dear {slots['n']},", *paragraphs, f"{rng.choice(CLOSING)}\n{rng.choice(SENDERS)}"]
    )
    return expand(rng, rng.choice(INSTRUCTIONS), slots), letter
