package jinja

type statement any

type (
	dataStatement   struct{ text string }
	outputStatement struct {
		line int
		e    expression
	}
	ifStatement struct {
		line   int
		tests  []expression
		bodies [][]statement // one more than tests: the else branch
	}
	forStatement struct {
		line       int
		target     expression
		items      expression
		test       expression // nil: all items
		body, none []statement
		recursive  bool
	}
	setStatement struct {
		line   int
		target expression
		value  expression
	}
	setBlockStatement struct {
		line    int
		target  expression
		filters []filterExpression // each applied to the one before
		body    []statement
	}
	macroStatement struct {
		line int
		m    *macroDefinition
	}
	callStatement struct { // {% call %}
		line   int
		call   expression
		caller *macroDefinition
	}
	filterStatement struct {
		line    int
		filters []filterExpression
		body    []statement
	}
	withStatement struct {
		line            int
		targets, values []expression
		body            []statement
	}
	scopedStatement     struct{ body []statement } // {% block %}, {% autoescape %}
	generationStatement struct{ body []statement }
	breakStatement      struct{}
	continueStatement   struct{}
)

type macroDefinition struct {
	name     string
	params   []string
	defaults []expression // of the last parameters
	body     []statement
}

type expression any

type (
	constant      struct{ v Value }
	nameExpr      struct{ name string }
	namespaceAttr struct{ name, attr string } // only as a target of set
	attrExpr      struct {
		of   expression
		name string
	}
	itemExpr struct {
		of, key expression
	}
	sliceExpr struct{ from, to, step expression } // only as a key of itemExpr; nil where left out
	callExpr  struct {
		of expression
		arguments
	}
	filterExpression struct {
		of   expression // nil: set by the statement
		name string
		arguments
	}
	testExpr struct {
		of     expression
		name   string
		negate bool
		arguments
	}
	notExpr    struct{ e expression }
	signExpr   struct{ e expression } // minus
	plusExpr   struct{ e expression }
	andExpr    struct{ a, b expression }
	orExpr     struct{ a, b expression }
	binaryExpr struct {
		op   string
		a, b expression
	}
	concatExpr  struct{ parts []expression }
	compareExpr struct {
		first expression
		ops   []string
		rest  []expression
	}
	condExpr  struct{ test, yes, no expression } // no: nil where left out
	listExpr  struct{ items []expression }
	tupleExpr struct{ items []expression }
	dictExpr  struct{ keys, values []expression }
)

type arguments struct {
	args         []expression
	names        []string // of the keyword arguments
	values       []expression
	list, object expression // *args and **kwargs, nil where left out
}
