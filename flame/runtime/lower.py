"""The printed language straight to LLVM: assignments, loops, branches, arithmetic, and calls of the prelude.

A printed kernel is Numba source and Numba compiles it. But Numba infers in Python, in 0.1 to 6 seconds a kernel, what
stands there plainly: every name has one type, every call is an emitter of the prelude. Here the same text is lowered by
the same emitters in hundredths of a second, to the instructions that Numba would write (a test compares both). What is
more than this language is `UnsupportedError`, and Numba's.

Types are Numba's. Integers are computed in 64 bits, as Numba computes them. Both sides of an operator are signed, or
both unsigned, or floats of one type: other kernels are left to Numba.
"""

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
F32, F64, VOID = ir.FloatType(), ir.DoubleType(), ir.VoidType()
constant = ir.Constant
KINDS = {types.boolean: I1, types.int8: I8, types.uint8: I8, types.int16: ir.IntType(16), types.int32: I32}
KINDS |= {types.int64: I64, types.uint64: I64, types.float32: F32, types.float64: F64}
FLOATS = (types.float32, types.float64)
SIGNED = (types.int8, types.int16, types.int32, types.int64)
UNSIGNED = (types.uint8, types.uint64)
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
REAL = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
WHOLE = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
BITS = {ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
SHIFTS = {ast.LShift: "shl", ast.RShift: "ashr"}
Rule = Callable[..., tuple[Any, tuple[Any, ...], Any]]


class UnsupportedError(Exception):
    """The text is Numba's, but not of the language that is lowered here."""


class Value(NamedTuple):
    """A value in LLVM and its type in Numba."""

    kind: Any
    value: Any


class Context:
    """What emitters ask of Numba's target."""

    def cast(self, b: Any, value: Any, given: Any, wanted: Any) -> Any:
        return cast(b, Value(given, value), wanted).value

    def make_tuple(self, b: Any, kind: Any, elements: list[Any]) -> Any:
        made = constant(ir.ArrayType(elements[0].type, len(elements)), ir.Undefined)
        for place, each in enumerate(elements):
            made = b.insert_value(made, each, place)
        return made

    def get_dummy_value(self) -> Any:
        return constant(I8.as_pointer(), None)


def cast(b: Any, given: Value, wanted: Any) -> Value:
    """A number as another type, as Numba converts it."""
    kind, value = given
    if kind == wanted:
        return given
    if kind not in KINDS or wanted not in KINDS:
        raise UnsupportedError(f"{kind} as {wanted}")
    return Value(wanted, _converted(b, value, kind, wanted, KINDS[wanted]))


def _converted(b: Any, value: Any, kind: Any, wanted: Any, to: Any) -> Any:
    if wanted is types.boolean:
        nothing = constant(value.type, 0)
        return b.fcmp_unordered("!=", value, nothing) if kind in FLOATS else b.icmp_unsigned("!=", value, nothing)
    if kind in FLOATS:
        if wanted in FLOATS:
            return b.fpext(value, to) if to is F64 else b.fptrunc(value, to)
        return b.fptosi(value, to) if wanted in SIGNED else b.fptoui(value, to)
    if wanted in FLOATS:
        return b.sitofp(value, to) if kind in SIGNED else b.uitofp(value, to)
    if to.width <= value.type.width:
        return b.trunc(value, to) if to.width < value.type.width else value
    return b.sext(value, to) if kind in SIGNED else b.zext(value, to)


def assigned(statements: list[ast.stmt]) -> Iterator[str]:
    """Every name that statements give a value; what a loop counts is its own."""
    for each in statements:
        for node in ast.walk(each):
            targets = node.targets if isinstance(node, ast.Assign) else ()
            targets = [node.target] if isinstance(node, ast.AugAssign) else targets
            yield from (target.id for target in targets if isinstance(target, ast.Name))


class Lowering:
    """One function on its way to LLVM. Names that loops and branches assign live in memory, until LLVM lifts them."""

    def __init__(
        self,
        module: ir.Module,
        scope: Callable[[str], Any],
        rule: Callable[[str], Rule | None],
        functions: dict[str, ast.FunctionDef],
    ):
        self.module, self.scope, self.rule, self.functions = module, scope, rule, functions
        self.values: dict[str, Value] = {}
        self.memory: dict[str, Value] = {}
        self.changing: set[str] = set()
        self.context = Context()
        self.b: Any = None

    def function(self, tree: ast.FunctionDef, arguments: list[Any]) -> ir.Function:
        """The kernel of one definition, whose parameters have the types `arguments`."""
        given = [I8 if kind is types.boolean else KINDS[kind] for kind in arguments]
        made = ir.Function(self.module, ir.FunctionType(VOID, given), tree.name)
        self.b = ir.IRBuilder(made.append_basic_block("entry"))
        body = made.append_basic_block("body")
        self.entry = ir.IRBuilder(self.b.block)
        self.b.position_at_end(body)
        for parameter, value, kind in zip(tree.args.args, made.args, arguments, strict=True):
            value.name = parameter.arg
            bits = self.b.trunc(value, I1) if kind is types.boolean else value
            self.values[parameter.arg] = Value(kind, bits)
        self._body(tree)
        self.b.ret_void()
        self.entry.position_at_end(self.entry.block)  # emitters may have put memory of their own there
        self.entry.branch(body)
        return made

    def _body(self, tree: ast.FunctionDef) -> None:
        parts = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.If)]
        self.changing = {name for part in parts for name in assigned([*part.body, *part.orelse])}
        for name in self.changing & set(self.values):
            self._store(name, self.values[name])
        self.statements(tree.body)

    # --- statements -------------------------------------------------------------------------------------------------
    def statements(self, body: list[ast.stmt]) -> None:
        for each in body:
            match each:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    self._assign(name, self.expression(each.value))
                case ast.Expr():
                    self.expression(each.value)
                case ast.AugAssign(target=ast.Name(id=name)):
                    self._assign(name, self._binary(type(each.op), self._name(name), self.expression(each.value)))
                case ast.For(target=ast.Name(id=name), orelse=[]):
                    self._loop(name, each)
                case ast.While(orelse=[]):
                    self._while(each)
                case ast.If():
                    self._branch(each)
                case _:
                    raise UnsupportedError(ast.unparse(each))

    def _assign(self, name: str, given: Value) -> None:
        if name in self.changing:
            self._store(name, given)
        else:
            self.values[name] = given

    def _store(self, name: str, given: Value) -> None:
        place = self.memory.get(name)
        if place is None:
            place = self.memory[name] = Value(given.kind, self.entry.alloca(given.value.type, name=name))
        if place.kind != given.kind:
            raise UnsupportedError(f"{name} is {place.kind} and {given.kind}")
        self.b.store(given.value, place.value)

    def _loop(self, name: str, loop: ast.For) -> None:
        """`for name in range(stop)`, or from a start, by a step that is a positive number."""
        match loop.iter:
            case ast.Call(func=ast.Name(id="range"), args=[*bounds]) if 1 <= len(bounds) <= 3:
                parts = [cast(self.b, self.expression(each), types.int64).value for each in bounds]
            case _:
                raise UnsupportedError(ast.unparse(loop.iter))
        step = parts.pop() if len(parts) == 3 else constant(I64, 1)
        if not isinstance(step, ir.Constant) or step.constant < 1 or name in self.changing:
            raise UnsupportedError(ast.unparse(loop.iter))
        start, stop = parts if len(parts) == 2 else (constant(I64, 0), parts[0])
        b, before = self.b, self.b.block
        head, body, after = (b.append_basic_block(part) for part in ("head", "round", "after"))
        b.branch(head)
        b.position_at_end(head)
        count = b.phi(I64, name)
        count.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", count, stop), body, after)
        b.position_at_end(body)
        self.values[name] = Value(types.int64, count)
        self.statements(loop.body)
        count.add_incoming(b.add(count, step, flags=("nsw",)), b.block)
        b.branch(head)
        b.position_at_end(after)
        del self.values[name]  # after the loop Python has the last round's value, and nobody reads it

    def _while(self, loop: ast.While) -> None:
        b = self.b
        head, body, after = (b.append_basic_block(part) for part in ("head", "round", "after"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(self._truth(loop.test), body, after)
        b.position_at_end(body)
        self.statements(loop.body)
        b.branch(head)
        b.position_at_end(after)

    def _branch(self, choice: ast.If) -> None:
        b = self.b
        yes, no, after = (b.append_basic_block(part) for part in ("yes", "no", "after"))
        b.cbranch(self._truth(choice.test), yes, no)
        for block, body in ((yes, choice.body), (no, choice.orelse)):
            b.position_at_end(block)
            self.statements(body)
            b.branch(after)
        b.position_at_end(after)

    def _truth(self, e: ast.expr) -> Any:
        kind, value = self.expression(e)
        if kind is not types.boolean:
            raise UnsupportedError(ast.unparse(e))
        return value

    # --- expressions ------------------------------------------------------------------------------------------------
    def expression(self, e: ast.expr) -> Value:
        match e:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Constant(value=value):
                return self._constant(value)
            case ast.BinOp():
                return self._binary(type(e.op), self.expression(e.left), self.expression(e.right))
            case ast.Compare(ops=[operator], comparators=[other]):
                return self._compare(type(operator), self.expression(e.left), self.expression(other))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self._constant(-value)
            case ast.UnaryOp():
                return self._unary(type(e.op), self.expression(e.operand))
            case ast.Tuple():
                return self._tuple([self.expression(each) for each in e.elts])
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return self._call(name, [self.expression(each) for each in e.args])
            case ast.Subscript(slice=ast.Constant(value=int(place))):
                return self._element(self.expression(e.value), place)
        raise UnsupportedError(ast.unparse(e))

    def _name(self, name: str) -> Value:
        if name in self.memory:
            place = self.memory[name]
            return Value(place.kind, self.b.load(place.value))
        if name not in self.values:
            raise UnsupportedError(name)
        return self.values[name]

    def _constant(self, value: Any) -> Value:
        for kind, to in ((bool, types.boolean), (int, types.int64), (float, types.float64)):
            if type(value) is kind and (kind is not int or -(2**63) <= value < 2**63):
                return Value(to, constant(KINDS[to], int(value) if kind is bool else value))
        raise UnsupportedError(repr(value))

    def _together(self, x: Value, y: Value) -> tuple[Any, Any, Any]:
        """The type in which Numba computes with both, and both in it."""
        if x.kind == y.kind and x.kind in FLOATS:
            return x.kind, x.value, y.value
        for narrow, wide in ((SIGNED, types.int64), (UNSIGNED, types.uint64)):
            if x.kind in narrow and y.kind in narrow:
                return wide, *(cast(self.b, each, wide).value for each in (x, y))
        raise UnsupportedError(f"{x.kind} beside {y.kind}")

    def _binary(self, operator: type, x: Value, y: Value) -> Value:
        if operator in BITS and x.kind is y.kind is types.boolean:
            return Value(types.boolean, getattr(self.b, BITS[operator])(x.value, y.value))
        kind, *both = self._together(x, y)
        if kind in FLOATS and operator in REAL:
            return Value(kind, getattr(self.b, REAL[operator])(*both))
        if kind not in FLOATS and operator in WHOLE:
            return Value(kind, getattr(self.b, WHOLE[operator])(*both, flags=("nsw",) if kind is types.int64 else ()))
        if kind not in FLOATS and operator in BITS:
            return Value(kind, getattr(self.b, BITS[operator])(*both))
        if kind is types.int64 and operator in SHIFTS:
            return Value(kind, getattr(self.b, SHIFTS[operator])(*both))
        raise UnsupportedError(f"{operator.__name__} of {kind}")

    def _compare(self, operator: type, x: Value, y: Value) -> Value:
        sign = COMPARISONS.get(operator)
        if sign is None:
            raise UnsupportedError(operator.__name__)
        kind, *both = (x.kind, x.value, y.value) if x.kind == y.kind else self._together(x, y)
        if kind in FLOATS:
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        elif kind in SIGNED or kind in UNSIGNED or kind is types.boolean:
            compare = self.b.icmp_signed if kind in SIGNED else self.b.icmp_unsigned
        else:
            raise UnsupportedError(f"{sign} of {kind}")
        return Value(types.boolean, compare(sign, *both))

    def _unary(self, operator: type, x: Value) -> Value:
        """Integers are negated or inverted before they are widened."""
        if x.kind in FLOATS and operator is ast.USub:
            return Value(x.kind, self.b.fsub(constant(x.value.type, -0.0), x.value))
        if x.kind in SIGNED and operator in (ast.USub, ast.Invert):
            made = self.b.neg(x.value) if operator is ast.USub else self.b.not_(x.value)
            return cast(self.b, Value(x.kind, made), types.int64)
        raise UnsupportedError(f"{operator.__name__} of {x.kind}")

    def _element(self, given: Value, place: int) -> Value:
        if not isinstance(given.kind, types.UniTuple) or not 0 <= place < given.kind.count:
            raise UnsupportedError(f"element {place} of {given.kind}")
        return Value(given.kind.dtype, self.b.extract_value(given.value, place))

    def _tuple(self, elements: list[Value]) -> Value:
        kinds = {each.kind for each in elements}
        if len(kinds) != 1:
            raise UnsupportedError(f"a tuple of {kinds}")
        kind = types.UniTuple(kinds.pop(), len(elements))
        return Value(kind, self.context.make_tuple(self.b, kind, [each.value for each in elements]))

    def _inside(self, tree: ast.FunctionDef, given: list[Value]) -> Value:
        """A function of the same file, in the place of its call; it returns at its end, and nowhere else."""
        inner = Lowering(self.module, self.scope, self.rule, {})
        inner.b, inner.entry = self.b, self.entry
        inner.values = {p.arg: each for p, each in zip(tree.args.args, given, strict=True)}
        *body, last = tree.body
        if not isinstance(last, ast.Return) or last.value is None:
            raise UnsupportedError(ast.unparse(last))
        inner._body(ast.FunctionDef(tree.name, tree.args, body, []))
        return inner.expression(last.value)

    def _call(self, name: str, given: list[Value]) -> Value:
        """A function of the file, a conversion, or an emitter of the prelude: it declares what its operands become."""
        if name in self.functions:
            return self._inside(self.functions[name], given)
        rule = self.rule(name)
        if rule is None:
            to = self.scope(name)
            if to not in KINDS or len(given) != 1:
                raise UnsupportedError(f"{name}()")
            return cast(self.b, given[0], to)
        result, wanted, emit = rule(*(each.kind for each in given))
        values = [cast(self.b, *pair).value for pair in zip(given, wanted, strict=True)]
        return Value(result, emit(self.b, values, self.context, result(*wanted)))


def lower(source: str, name: str, arguments: list[Any], scope: Callable[[str], Any], rule: Any) -> ir.Module:
    """An LLVM module with the kernel `name` of a printed file; raises UnsupportedError where only Numba can.

    `scope` is what a name of the prelude stands for, `rule` how a call of it is typed and emitted (None: no emitter).
    """
    tree = ast.parse(source)
    functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    module = ir.Module(name)
    Lowering(module, scope, rule, functions).function(functions.pop(name), arguments)
    return module
