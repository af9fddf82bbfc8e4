package filter

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRefusals(t *testing.T) {
	for _, text := range []string{
		"I'm sorry, but I can't help with that.",
		"I’m sorry, but I can’t assist with that request.",
		"I'm sorry, I cannot fulfill that request.",
		"I am sorry, but as an AI language model I cannot provide medical advice.",
		"Sorry, I can't do that.",
		"Sorry, but I'm not able to share personal information.",
		"I'm afraid I can't do that.",
		"I cannot assist with this.",
		"I can't help you with that. If you're struggling, please reach out to someone.",
		"I cannot provide instructions on how to build a weapon.",
		"I can't create content that is harmful.",
		"I'm unable to provide real-time information.",
		"I am not able to help with that request.",
		"I won't help with that.",
		"I must respectfully decline to answer this.",
		"I apologize, but I cannot comply with that request.",
		"My apologies, but I'm not comfortable writing that.",
		"As an AI, I don't have personal opinions.",
		"As a large language model, I cannot browse the internet.",
		"As an AI language model, I am not capable of feeling.",
		"I'm just an AI model and I can't give legal advice.",
		"Unfortunately, I am unable to assist with that.",
		"Unfortunately I cannot discuss that topic.",
		"Thank you for your question. I'm sorry, but I can't answer that.",
		"Hello! I'm sorry, but I cannot generate images.",
		"**I'm sorry, but I can't help with that.**",
		"\n\n  I'm sorry, but\nI can't assist with that.",
		"This request violates our content policy.",
		"It is against my programming to do so.",
		"I'm sorry, but that's not something I can do.",
		"It's not possible for me to help with that.",
	} {
		require.NotEmpty(t, refuses(text), text)
	}
}

// What the endpoint says of an answer counts in any language.
func TestWhatTheEndpointMarks(t *testing.T) {
	marked, stopped := row("p1", 0, "q", "Das mache ich nicht."), row("p2", 0, "q", "First you take")
	marked.Refusal, stopped.FinishReason = new("Das mache ich nicht."), "content_filter"
	require.Equal(t, []string{`refusal: the endpoint marks it as a refusal: "Das mache ich nicht."`,
		"truncated: finish_reason is content_filter: the endpoint's filter stopped it after 3 tokens", ""},
		outcomes(t, "[truncated, refusal]", marked, stopped, row("p3", 0, "q", "Das mache ich nicht.")))
}

func TestNoRefusals(t *testing.T) {
	for _, text := range []string{
		"",
		"#### 17",
		"9 + 8 = 17. I'm sorry, but I can't stop smiling, said Tom.",
		`She wrote: "I'm sorry, but I can't help with that."`,
		"The assistant said it cannot help with that.",
		"I can't believe it's 17! Here is how to get there: 9 + 8.",
		"I can't wait to show you: the answer is 4.",
		"I can't help but notice that 3 + 4 = 7.",
		"I cannot emphasize enough how simple this is: add them.",
		"I'm sorry to hear that you are unwell. Drink water and rest.",
		"I'm sorry for the confusion. The correct answer is 12.",
		"Sorry for the mistake above; the sum is 12.",
		"I apologize for the error. The answer is 5.",
		"I can't provide for my family, he thought, and went on.",
		"I can't see any way out of the wood, said the fox.",
		"I won't go into every detail, but the proof is by induction.",
		"We cannot divide by zero, so x is not 0.",
		"We can't provide a closed form, but a bound is easy.",
		"As an AI researcher, I have worked on this for years; I cannot stop.",
		"As an airline pilot, I cannot recommend flying at night.",
		"As an example, we cannot take the root of -1.",
		"AI models cannot think.",
		"Unfortunately, there are only 3 apples left.",
		"However, the train does not stop in Bonn.",
		"Dear Sir, I am sorry to say that I cannot attend the party on Monday.",
		"To say no politely: \"I must decline.\"",
		"The request violates no rule.",
		"No. The sum is 12.",
		"It is against the law to park here.",
	} {
		require.Empty(t, refuses(text), text)
	}
}

func TestRefusalPatterns(t *testing.T) {
	require.Equal(t, []string{`refusal: pattern "no comment\\b" found "No comment"`, "", `refusal: begins with "i'm sorry, but i can't help with"`},
		outcomes(t, `[{refusal: {patterns: ['no comment\b']}}]`, row("a", 0, "q", "Well: No comment."), row("b", 0, "q", "No commentary."), row("c", 0, "q", "I'm sorry, but I can't help with that.")))
}

func FuzzRefusal(f *testing.F) {
	f.Add("I'm sorry, but I can't help with that.")
	f.Add("As an AI, I don't")
	f.Add("\xff\u2019")
	f.Fuzz(func(t *testing.T, text string) {
		if found := refuses(text); found != "" && refuses("  "+text) == "" {
			t.Fatalf("%q is a refusal, but not after blanks", text)
		}
		if refuses("The quote reads: "+text) != "" {
			t.Fatalf("a quotation of %q is taken for a refusal", strings.TrimSpace(text))
		}
	})
}
