package candidates

import (
	"stillhouse"
)

// Why a row of a file is no candidate.
const (
	APIError     = "api_error"     // the source says that the request failed
	NoContent    = "no_content"    // an answer without text, tool call or reasoning
	NoCompletion = "no_completion" // a conversation that does not end with the assistant
	NoPrompt     = "no_prompt"     // an answer to something that the files do not hold
	NoResponse   = "no_response"   // a request without an answer
)

// BadRow is the reason of a row that cannot be read and was left out.
const BadRow = "bad_row"

// Unknown is the sample of a row that is no candidate, where the source says nothing of its place.
const Unknown = -1

// An Item is a candidate; or a row of the files that is none, and why.
type Item struct {
	stillhouse.Candidate
	Reason string `json:",omitempty"` // "" for a candidate
	Detail string `json:",omitempty"` // what was seen
	Place  string `json:",omitempty"` // of the row: a.jsonl line 7
}

// Failed says whether the item is a row that is no candidate, though it can be read.
func (i *Item) Failed() bool { return i.Reason != "" && i.Reason != BadRow }

// A read is an item on its way from a row to its place among those of its prompt.
type read struct {
	Item
	Request bool     `json:",omitempty"` // a prompt alone: the answers to it have their own rows
	Begins  bool     `json:",omitempty"` // the first item of its row
	Counted bool     `json:",omitempty"` // its sample is the number of answers to its prompt before it
	Bare    bool     `json:",omitempty"` // it has no prompt: the request with its id has
	Named   bool     `json:",omitempty"` // its id is the source's
	Pair    bool     `json:",omitempty"` // its number says which of a pair it is, and pairs of one prompt follow each other
	Hash    identity // of the prompt

	Tokens [][]string `json:",omitempty"` // the log-probabilities, on disk

	row *int64 // the place of its prompt in an input file that is not there, where the source tells
}

// counted makes the item one that is numbered by how often its prompt was there before.
func counted(i Item) read { return read{Item: i, Counted: true, Begins: true} }

// numbered makes the item one whose number the source says.
func numbered(i Item, sample int) read {
	i.Sample = int32(sample)
	return read{Item: i, Begins: sample == 0}
}

// fail makes the item one that is no candidate.
func (r read) fail(reason, detail string) read {
	r.Reason, r.Detail = reason, detail
	r.Completion, r.Reasoning, r.ToolCalls = nil, nil, nil
	return r
}

// unplaced takes the item's number away.
func (r read) unplaced() read {
	r.Counted, r.Sample = false, Unknown
	return r
}
