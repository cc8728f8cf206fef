"""How a generator's question is put: as it is, or with a line on the form of the answer where the
question itself says none. Generators that are not here say it themselves."""

NUMBER = "Answer with the number only."
TRUE_FALSE = "Answer with True or False only."
INSTRUCTIONS = {
    "aiw": NUMBER,
    "base_conversion": "Answer with the converted number only.",
    "basic_arithmetic": NUMBER,
    "binary_alternation": NUMBER,
    "calendar_arithmetic": "Answer with nothing else.",
    "chain_sum": NUMBER,
    "circuit_logic": "Answer with 0 or 1 only.",
    "coin_flip": "Answer with the probability only, as a decimal number.",
    "complex_arithmetic": "Answer with the result only, in a form like 3.0 - 2.0i.",
    "count_bits": NUMBER,
    "count_primes": NUMBER,
    "course_schedule": TRUE_FALSE,
    "decimal_chain_sum": NUMBER,
    "isomorphic_strings": TRUE_FALSE,
    "largest_island": NUMBER,
    "lcm": NUMBER,
    "leg_counting": NUMBER,
    "letter_counting": NUMBER,
    "number_sequence": "Answer with the next number only.",
    "prime_factorization": "Answer with the product only.",
    "ransom_note": TRUE_FALSE,
    "rectangle_count": NUMBER,
    "rotten_oranges": NUMBER,
    "self_reference": NUMBER,
    "sentence_reordering": "Answer with the sentence only.",
    "shortest_path": "Answer with the moves only, or with infeasible.",
    "simple_equations": NUMBER,
    "spell_backward": "Answer with the word only.",
    "syllogism": "Answer with Yes or No only.",
    "time_intervals": "Answer with nothing else.",
    "word_sequence_reversal": "Answer with the words only.",
}


def asked(kind: str, question: str, style: str, instruction: str | None) -> str:
    """A generator's question as it is put to a model.

    Args:
        kind: the generator's name in reasoning_gym.
        style: "chat", with the line that `INSTRUCTIONS` has; "question", without.
        instruction: a line in place of that one; empty for none.
    """
    if instruction is None:
        instruction = INSTRUCTIONS.get(kind, "") if style == "chat" else ""
    return f"{question.strip()}\n{instruction}".strip()
