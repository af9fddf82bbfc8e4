package reward

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

const capitals = "What is the capital of France?\nA. Berlin\nB. Paris\nC. Rome\nD. London"

// ask scores one answer to a prompt.
func ask(t testing.TB, options Options, prompt, reference, text string) stillhouse.Score {
	t.Helper()
	options.EnsureDefaults()
	require.NoError(t, options.Validate())
	r, err := options.New()
	require.NoError(t, err)
	c := candidate("p", 0, reference, text, 1)
	c.Prompt.Prompt[0].Content = prompt
	return r.Score(context.Background(), c)
}

// All say B.
func TestChoiceForms(t *testing.T) {
	for _, text := range []string{
		"B", "b", "(B)", "(b)", "[B]", "B.", "B)", "B:", "**B**", "**B.**", "**(B)**", "`B`", `"B"`, "B\n", "*B*", "$B$", "b.", "b)",
		"B. Paris", "B) Paris", "(B) Paris", "B: Paris", "**B. Paris**", "**B**: Paris", "**B)** Paris", "B - Paris", "B, Paris", "B Paris", "Paris", "Paris.", "paris", "**Paris**",
		"Option B", "Option B: Paris", "option (B)", "Option **B**", "Choice B", "Letter B",
		"The answer is B", "The answer is B.", "the answer is (B).", "The answer is **B**.", "The answer is: B", "The answer is:\nB", "The answer is:\n\n**B**", "The answer is b.",
		"The answer is (b).", "The correct answer is B) Paris.", "The correct answer is **(B) Paris**", "The answer is option B.", "The correct option is B.", "The correct choice is (B).",
		"The answer is Paris.", "Answer: B", "**Answer:** B", "**Answer: B**", "Answer: **B**", "ANSWER: B", "Final Answer: (B)", "answer = B", "Answer:\nB", "### Answer\nB", "Answer: Option B",
		"The answer would be B because it is the capital.", "The answer is B since Paris is the capital.", "The answer is B, Paris.", "The answer is the letter B.", "The answer is definitely B.",
		"I choose B.", "I'd choose (B).", "I will go with B.", "I would pick option B.", "I select **B**.",
		`\boxed{B}`, `$\boxed{B}$`, `\boxed{(B)}`, `\boxed{\text{B}}`, `\boxed{\text{(B)}}`, `\boxed{\textbf{B}}`, `\boxed{\mathrm{B}}`, `\boxed{b}`, `\boxed{B. Paris}`, `\boxed{\text{B) Paris}}`, `\boxed{Paris}`, `\boxed {B}`,
		`The answer is \boxed{B}.`, `The answer is A? No: \boxed{B}`, `\boxed{A} was my first guess. \boxed{B}`, `\boxed{\textbf{(B)}\ \text{Paris}}`, `\boxed{\text{Option B}}`,
		"A is wrong, C is wrong.\nThe answer is B.", "The answer is not A. The answer is B.", "The answer is A. Wait, no. The answer is B.", "Let me think about it.\n\nB", "Let me think about it.\n\n**B. Paris**",
		"B\n\nParis has been the capital of France since 987.", "B. Paris\n\nA is wrong, because Berlin is in Germany.", "(B) is correct.", "B is correct, because A is in Germany.", "Hence B is the correct answer.",
		"Only option B names a French city.", "So it must be (B), which is in France.", "<think>A? (C)? The answer is D.</think>B", "<think>The answer is A.</think>\nThe answer is B.", "reasoning in the prompt's block</think>B",
		"The answer is B\xff", "I am sure that the answer is: **B** – Paris.", "答案是 (B)", "Answer → B is what the answer is: B",
	} {
		s := ask(t, &Choice{}, capitals, "B", text)
		require.Equal(t, stillhouse.Right, s.Verdict, "%q: %s", text, s.Evidence)
		require.Equal(t, 1.0, s.Score)
		s = ask(t, &Choice{}, capitals, "C", text)
		require.Equal(t, stillhouse.Wrong, s.Verdict, "%q: %s", text, s.Evidence)
	}
}

// None says one letter.
func TestChoiceUnparsable(t *testing.T) {
	for _, text := range []string{
		"", "  \n", "I don't know.", "A or B", "A and B", "(A) or (B)", "A, B", "A/B", "Both A and B", "The answer is A or B.", "The answer is A and B.", "The answer is (A) or (B).", "Answer: A, B", "Answer: A & C",
		`\boxed{A, B}`, `\boxed{}`, `\boxed{42}`, `\boxed{A or B}`, `\boxed{B`, "Option A is good, and option B is good.", "(A) and (B) and (C) are cities.", "The answer is a city.", "The answer is A city.",
		"A city in France.", "I think that this is hard.", "I am not sure.", "The answer is not B.", "The answer isn't B.", "B\n\nC", "<think>B", "<think>The answer is B", "Bonn", "BB", "B2", "The answer is Bordeaux.",
		"Vitamin C helps.", "As I see it, this is Berlin or Paris.", "Answer:", "A. Berlin\nB. Paris\nC. Rome\nD. London",
	} {
		s := ask(t, &Choice{}, capitals, "B", text)
		require.Equal(t, stillhouse.Unparsable, s.Verdict, "%q: %s", text, s.Evidence)
		require.Zero(t, s.Score)
		require.NotEmpty(t, s.Evidence)
	}
}

func TestChoiceReference(t *testing.T) {
	for _, c := range []struct{ prompt, reference, verdict string }{
		{capitals, "B", "right"}, {capitals, "(B)", "right"}, {capitals, "B. Paris", "right"}, {capitals, "b", "right"}, {capitals, "Paris", "right"}, {capitals, " paris ", "right"},
		{capitals, `\boxed{B}`, "right"}, {capitals, "The answer is B.", "right"}, {capitals, "C", "wrong"}, {capitals, "London", "wrong"}, {capitals, "Madrid", "unparsable"}, {capitals, "A or B", "unparsable"}, {capitals, "", "unparsable"},
		{"Which? (A) Berlin (B) Paris (C) Rome", "Paris", "right"}, {"Which?\n(A) Berlin\n(B) Paris", "Paris", "right"}, {"Which?\nA) Berlin\nB) Paris", "Paris", "right"}, {"Which?\n- **A**: Berlin\n- **B**: Paris", "Paris", "right"},
		{"First?\nA. Rome\nB. Oslo\nSecond?\nA. Berlin\nB. Paris", "Paris", "right"}, {"First?\nA. Rome\nB. Oslo\nSecond?\nA. Berlin\nB. Paris", "Oslo", "unparsable"},
		{"Which?\nA. Paris\nB. Paris", "Paris", "unparsable"}, {"No choices here.", "B", "right"}, {"No choices here.", "Paris", "unparsable"}, {"", "B", "right"},
	} {
		s := ask(t, &Choice{}, c.prompt, c.reference, "B")
		require.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
	}
	require.Equal(t, "unparsable", ask(t, &Choice{}, "", "Z", "B").Verdict)
	require.Equal(t, "right", ask(t, &Choice{Choices: 26}, "", "Z", "Z").Verdict)
	require.Equal(t, "wrong", ask(t, &Choice{}, capitals, "B", "E").Verdict, "a letter that is none of the choices")
}

func TestChoiceOptions(t *testing.T) {
	for _, n := range []int{-1, 1, 27} {
		require.ErrorContains(t, (&Choice{Choices: n}).Validate(), "choices: is")
	}
}

func TestChoiceHostile(t *testing.T) {
	for _, unit := range []string{"A", "(A) or ", "The answer is ", `\boxed{`, "{", "B, ", "**", "answer:\n", "Option ", "\xff", "B is ", "or B"} {
		s := ask(t, &Choice{}, strings.Repeat(unit, 10_000_000/len(unit)), "B", strings.Repeat(unit, 10_000_000/len(unit)))
		require.NotEmpty(t, s.Evidence)
		require.Less(t, len(s.Evidence), 1000)
	}
}

func FuzzChoice(f *testing.F) {
	for _, s := range []string{"B", "(B)", "The answer is **B**.", `\boxed{\text{(B)}}`, "A or B", "I'd say B", "B_", "‘B’", "(", "é", "option ", "I’", "A_’", "A or"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := ask(t, &Choice{}, capitals, "B", text)
		require.Contains(t, []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable}, s.Verdict)
		require.True(t, utf8.ValidString(s.Evidence))
		require.Less(t, len(s.Evidence), 2000)
		r := ask(t, &Choice{}, text, text, "B")
		require.True(t, utf8.ValidString(r.Evidence))
	})
}
