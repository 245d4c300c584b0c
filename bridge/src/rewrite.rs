//! Rebuilds a parsed template so that its operators, literals and loops call our functions (ops.rs), and refuses at load what is
//! not supported. The engine's own operators would see marks as characters, and know nothing of limits.
use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Spanned, Stmt, UnaryOpKind};
use minijinja::machinery::{tokenize, Span, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind, Value};

use crate::filters::{has_filter, has_test};
use crate::ops;

/// Tokens of one tag, and `elif` tags of one template: the parser and code generator recurse over them.
const MAX_TAG_TOKENS: usize = 2500;
const MAX_ELIFS: usize = 1000;

fn syntax_error(span: Span, what: String) -> Error {
    Error::new(ErrorKind::SyntaxError, format!("{what} (line {})", span.start_line))
}

/// Refuses templates that nest so deeply that parsing them could exhaust the stack.
pub fn check_nesting(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let (mut tokens, mut elifs, mut first) = (0, 0, false);
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token?;
        match token {
            Token::BlockStart | Token::VariableStart => {
                tokens = 0;
                first = true;
                continue;
            }
            Token::Ident("elif") if first => elifs += 1,
            _ => tokens += 1,
        }
        first = false;
        if tokens > MAX_TAG_TOKENS || elifs > MAX_ELIFS {
            return Err(syntax_error(
                span,
                "the template nests too deeply: too many operators in one tag, or too many elif".into(),
            ));
        }
    }
    Ok(())
}

pub fn template<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    statement(stmt)
}

fn body<'a>(stmts: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    stmts.iter().map(statement).collect()
}

fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match stmt {
        Stmt::Template(s) => Stmt::Template(Spanned::new(ast::Template { children: body(&s.children)? }, s.span())),
        Stmt::EmitExpr(s) => Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: expr(&s.expr)? }, s.span())),
        Stmt::EmitRaw(s) => Stmt::EmitRaw(Spanned::new(ast::EmitRaw { raw: s.raw }, s.span())),
        Stmt::ForLoop(s) => {
            let iter = call(ops::ITERATE, vec![expr(&s.iter)?], s.iter.span());
            let node = ast::ForLoop {
                target: target(&s.target)?,
                iter,
                filter_expr: s.filter_expr.as_ref().map(expr).transpose()?,
                recursive: s.recursive,
                body: body(&s.body)?,
                else_body: body(&s.else_body)?,
            };
            Stmt::ForLoop(Spanned::new(node, s.span()))
        }
        Stmt::IfCond(s) => {
            let node =
                ast::IfCond { expr: expr(&s.expr)?, true_body: body(&s.true_body)?, false_body: body(&s.false_body)? };
            Stmt::IfCond(Spanned::new(node, s.span()))
        }
        Stmt::WithBlock(s) => {
            let assign = |(name, value): &(Expr<'a>, Expr<'a>)| Ok::<_, Error>((target(name)?, kept(value)?));
            let assignments = s.assignments.iter().map(assign).collect::<Result<_, _>>()?;
            Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body: body(&s.body)? }, s.span()))
        }
        Stmt::Set(s) => {
            let inside = matches!(s.target, Expr::GetAttr(_));
            let value = if inside { call(ops::LIST, vec![expr(&s.expr)?], s.expr.span()) } else { kept(&s.expr)? };
            // A list of one checks that no namespace goes into a namespace.
            let value =
                if inside { call(ops::ITEM, vec![value, constant(Value::from(0), s.span())], s.span()) } else { value };
            Stmt::Set(Spanned::new(ast::Set { target: target(&s.target)?, expr: value }, s.span()))
        }
        Stmt::SetBlock(s) => {
            let node = ast::SetBlock {
                target: target(&s.target)?,
                filter: s.filter.as_ref().map(expr).transpose()?,
                body: body(&s.body)?,
            };
            Stmt::SetBlock(Spanned::new(node, s.span()))
        }
        Stmt::FilterBlock(s) => Stmt::FilterBlock(Spanned::new(
            ast::FilterBlock { filter: expr(&s.filter)?, body: body(&s.body)? },
            s.span(),
        )),
        Stmt::Macro(s) => Stmt::Macro(Spanned::new(macro_of(s)?, s.span())),
        Stmt::CallBlock(s) => {
            let node = ast::CallBlock {
                call: Spanned::new(call_of(&s.call)?, s.call.span()),
                macro_decl: Spanned::new(macro_of(&s.macro_decl)?, s.macro_decl.span()),
            };
            Stmt::CallBlock(Spanned::new(node, s.span()))
        }
        Stmt::Continue(s) => Stmt::Continue(Spanned::new(ast::Continue, s.span())),
        Stmt::Break(s) => Stmt::Break(Spanned::new(ast::Break, s.span())),
        Stmt::AutoEscape(s) => return Err(syntax_error(s.span(), "the tag 'autoescape' is not supported".into())),
        Stmt::Block(s) => return Err(syntax_error(s.span(), "the tag 'block' is not supported".into())),
        Stmt::Import(s) => return Err(syntax_error(s.span(), "a chat template cannot import".into())),
        Stmt::FromImport(s) => return Err(syntax_error(s.span(), "a chat template cannot import".into())),
        Stmt::Extends(s) => return Err(syntax_error(s.span(), "a chat template cannot extend another".into())),
        Stmt::Include(s) => return Err(syntax_error(s.span(), "a chat template cannot include another".into())),
        Stmt::Do(s) => return Err(syntax_error(s.span(), "unknown tag 'do'".into())),
    })
}

fn macro_of<'a>(s: &ast::Macro<'a>) -> Result<ast::Macro<'a>, Error> {
    Ok(ast::Macro {
        name: s.name,
        args: s.args.iter().map(target).collect::<Result<_, _>>()?,
        defaults: s.defaults.iter().map(expr).collect::<Result<_, _>>()?,
        body: body(&s.body)?,
    })
}

/// Left sides of assignments stay as they are.
fn target<'a>(e: &Expr<'a>) -> Result<Expr<'a>, Error> {
    Ok(match e {
        Expr::Var(v) => Expr::Var(Spanned::new(ast::Var { id: v.id }, v.span())),
        Expr::GetAttr(g) => {
            Expr::GetAttr(Spanned::new(ast::GetAttr { expr: target(&g.expr)?, name: g.name }, g.span()))
        }
        Expr::List(l) => {
            let items = l.items.iter().map(target).collect::<Result<_, _>>()?;
            Expr::List(Spanned::new(ast::List { items }, l.span()))
        }
        other => return Err(syntax_error(other.span(), format!("cannot assign to {}", other.description()))),
    })
}

fn constant(value: Value, span: Span) -> Expr<'static> {
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

fn call<'a>(name: &'static str, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let function = Expr::Var(Spanned::new(ast::Var { id: name }, span));
    Expr::Call(Spanned::new(ast::Call { expr: function, args: args.into_iter().map(CallArg::Pos).collect() }, span))
}

/// The value of an assignment: constants as they are, anything else settled into values of ours.
fn kept<'a>(e: &Expr<'a>) -> Result<Expr<'a>, Error> {
    Ok(match e {
        Expr::Const(_) => expr(e)?,
        _ => call(ops::KEEP, vec![expr(e)?], e.span()),
    })
}

fn args_of<'a>(
    args: &[CallArg<'a>],
    change: fn(&Expr<'a>) -> Result<Expr<'a>, Error>,
) -> Result<Vec<CallArg<'a>>, Error> {
    args.iter()
        .map(|arg| {
            Ok(match arg {
                CallArg::Pos(e) => CallArg::Pos(change(e)?),
                CallArg::Kwarg(name, e) => CallArg::Kwarg(name, change(e)?),
                CallArg::PosSplat(e) => CallArg::PosSplat(expr(e)?),
                CallArg::KwargSplat(e) => CallArg::KwargSplat(expr(e)?),
            })
        })
        .collect()
}

fn call_of<'a>(c: &ast::Call<'a>) -> Result<ast::Call<'a>, Error> {
    let change = match &c.expr {
        Expr::Var(v) if v.id == "namespace" => kept,
        _ => expr,
    };
    Ok(ast::Call { expr: expr(&c.expr)?, args: args_of(&c.args, change)? })
}

fn compare_name(op: BinOpKind) -> Option<&'static str> {
    Some(match op {
        BinOpKind::Eq => "==",
        BinOpKind::Ne => "!=",
        BinOpKind::Lt => "<",
        BinOpKind::Lte => "<=",
        BinOpKind::Gt => ">",
        BinOpKind::Gte => ">=",
        BinOpKind::In => "in",
        _ => return None,
    })
}

/// The operands of a chain such as a ~ b ~ c, which the parser nests to the left.
fn operands<'e, 'a>(b: &'e ast::BinOp<'a>, same: fn(BinOpKind) -> bool) -> Vec<&'e Expr<'a>> {
    let mut found = vec![&b.right];
    let mut left = &b.left;
    while let Expr::BinOp(inner) = left {
        if !same(inner.op) {
            break;
        }
        found.push(&inner.right);
        left = &inner.left;
    }
    found.push(left);
    found.reverse();
    found
}

fn binary<'a>(b: &ast::BinOp<'a>, span: Span) -> Result<Expr<'a>, Error> {
    let chain = |name, same| Ok(call(name, operands(b, same).into_iter().map(expr).collect::<Result<_, _>>()?, span));
    if let Some(name) = compare_name(b.op) {
        let args = vec![expr(&b.left)?, constant(Value::from(name), span), expr(&b.right)?];
        return Ok(call(ops::COMPARE, args, span));
    }
    match b.op {
        BinOpKind::Add => chain(ops::ADD, |op| matches!(op, BinOpKind::Add)),
        BinOpKind::Concat => chain(ops::JOIN, |op| matches!(op, BinOpKind::Concat)),
        BinOpKind::Mul => Ok(call(ops::MULTIPLY, vec![expr(&b.left)?, expr(&b.right)?], span)),
        BinOpKind::Rem => Ok(call(ops::REMAINDER, vec![expr(&b.left)?, expr(&b.right)?], span)),
        op => Ok(Expr::BinOp(Spanned::new(ast::BinOp { op, left: expr(&b.left)?, right: expr(&b.right)? }, span))),
    }
}

fn expr<'a>(e: &Expr<'a>) -> Result<Expr<'a>, Error> {
    let span = e.span();
    let or_none = |part: &Option<Expr<'a>>| part.as_ref().map_or_else(|| Ok(constant(Value::from(()), span)), expr);
    Ok(match e {
        Expr::Var(v) => Expr::Var(Spanned::new(ast::Var { id: v.id }, span)),
        Expr::Const(c) => constant(c.value.clone(), span),
        Expr::Slice(s) => {
            let args = vec![expr(&s.expr)?, or_none(&s.start)?, or_none(&s.stop)?, or_none(&s.step)?];
            call(ops::SLICE, args, span)
        }
        Expr::UnaryOp(u) => {
            #[allow(clippy::needless_match)] // it cannot be copied
            let op = match u.op {
                UnaryOpKind::Not => UnaryOpKind::Not,
                UnaryOpKind::Neg => UnaryOpKind::Neg,
            };
            Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: expr(&u.expr)? }, span))
        }
        Expr::BinOp(b) => binary(b, span)?,
        Expr::Compare(c) => {
            let mut args = vec![expr(&c.expr)?];
            for op in &c.ops {
                let name = match op.op {
                    CompareOpKind::Eq => "==",
                    CompareOpKind::Ne => "!=",
                    CompareOpKind::Lt => "<",
                    CompareOpKind::Lte => "<=",
                    CompareOpKind::Gt => ">",
                    CompareOpKind::Gte => ">=",
                    CompareOpKind::In => "in",
                    CompareOpKind::NotIn => "not in",
                };
                args.push(constant(Value::from(name), span));
                args.push(expr(&op.expr)?);
            }
            call(ops::COMPARE, args, span)
        }
        Expr::IfExpr(i) => {
            let node = ast::IfExpr {
                test_expr: expr(&i.test_expr)?,
                true_expr: expr(&i.true_expr)?,
                false_expr: i.false_expr.as_ref().map(expr).transpose()?,
            };
            Expr::IfExpr(Spanned::new(node, span))
        }
        Expr::Filter(f) => {
            if !has_filter(f.name) {
                return Err(syntax_error(span, format!("unknown filter '{}'", f.name)));
            }
            let node = ast::Filter {
                name: f.name,
                expr: f.expr.as_ref().map(expr).transpose()?,
                args: args_of(&f.args, expr)?,
            };
            Expr::Filter(Spanned::new(node, span))
        }
        Expr::Test(t) => {
            if !has_test(t.name) {
                return Err(syntax_error(span, format!("unknown test '{}'", t.name)));
            }
            Expr::Test(Spanned::new(
                ast::Test { name: t.name, expr: expr(&t.expr)?, args: args_of(&t.args, expr)? },
                span,
            ))
        }
        Expr::GetAttr(g) => Expr::GetAttr(Spanned::new(ast::GetAttr { expr: expr(&g.expr)?, name: g.name }, span)),
        Expr::GetItem(g) => call(ops::ITEM, vec![expr(&g.expr)?, expr(&g.subscript_expr)?], span),
        Expr::Call(c) => Expr::Call(Spanned::new(call_of(c)?, span)),
        Expr::List(l) => call(ops::LIST, l.items.iter().map(expr).collect::<Result<_, _>>()?, span),
        Expr::Tuple(t) => {
            let items = t.items.iter().map(expr).collect::<Result<_, _>>()?;
            Expr::Tuple(Spanned::new(ast::Tuple { items }, span))
        }
        Expr::Map(m) => {
            let mut args = Vec::with_capacity(2 * m.keys.len());
            for (key, value) in m.keys.iter().zip(&m.values) {
                args.push(expr(key)?);
                args.push(expr(value)?);
            }
            call(ops::DICT, args, span)
        }
    })
}
