package stillhouse

import (
	"errors"
	"fmt"
)

// Kind says what to do about an error.
type Kind int

const (
	Permanent Kind = iota // this row fails, the run goes on
	Transient             // trying again may help
	Invalid               // the user must act: a config, a file or a row is wrong
)

func (k Kind) String() string {
	return [...]string{"permanent", "transient", "invalid"}[k]
}

// An Error is an error with its kind. Its text stands alone: it says what was being done, to which row, and what
// would help.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Invalidf makes an error that the user must act on.
func Invalidf(format string, args ...any) error {
	return &Error{Kind: Invalid, Err: fmt.Errorf(format, args...)}
}

// Transientf makes an error that may go away when tried again.
func Transientf(format string, args ...any) error {
	return &Error{Kind: Transient, Err: fmt.Errorf(format, args...)}
}

// Permanentf makes an error that trying again won't mend.
func Permanentf(format string, args ...any) error {
	return &Error{Kind: Permanent, Err: fmt.Errorf(format, args...)}
}

// KindOf is the kind of the outermost [Error] in err, Permanent when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Permanent
}

// ErrUnbalanced is wrapped by the error of a stage that lost rows or made some up.
var ErrUnbalanced = errors.New("the books do not balance")
